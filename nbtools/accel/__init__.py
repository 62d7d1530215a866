"""Faster code for a CPU: a decoder for GPT-2 and Llama models, and a training step with fused loss, attention and optimizer.

`NBTOOLS_ACCEL=0` switches all of it off: generation and training then use transformers and PyTorch alone, with the same results up to
rounding. `NBTOOLS_KERNEL=0` switches off only the part that is compiled from C++; PyTorch does the same work.

Generation asks `decoder_for(model, dtype)` and training asks `fast_path.fits(model)`. Both say no where this package does not apply.
"""

from nbtools.accel.decoder import BF16_GAP, Decoder, decoder_for, release
from nbtools.accel.native import available
from nbtools.accel.weights import unsupported_reason

__all__ = ["BF16_GAP", "Decoder", "available", "decoder_for", "release", "unsupported_reason"]

"""Where the kernel is used and where it is not; test_decoder.py compares its results with the library's models."""

import shutil
import sys

import pytest
import torch

from nbtools.accel import available, decoder_for, release
from nbtools.accel.decode_kernel import DecodeKernel
from nbtools.accel.native import native_library
from nbtools.accel.weights import read_weights
from nbtools.generation import generate
from tests.small_models import mini, tiny

pytestmark = pytest.mark.skipif(not available("decode_kernel"), reason="no C++ compiler here")


@pytest.mark.parametrize("why", ["no compiler", "switched off", "another system"])
def test_without_it_texts_are_the_same(fresh_native, why, monkeypatch):
    text = generate(mini(), "The movie was", max_new_tokens=20)
    release(mini().model)
    native_library.cache_clear()
    if why == "no compiler":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif why == "switched off":
        monkeypatch.setenv("NBTOOLS_KERNEL", "0")
    else:
        monkeypatch.setattr(sys, "platform", "win32")
    assert not available("decode_kernel") and decoder_for(mini().model, torch.float32).kernel is None
    assert generate(mini(), "The movie was", max_new_tokens=20) == text
    release(mini().model)


def test_widths_that_the_kernel_cannot_read_are_decoded_without_it():
    assert DecodeKernel.fits(read_weights(tiny().model, torch.float32, torch.Tensor.contiguous))
    from transformers import GPT2Config, GPT2LMHeadModel

    odd = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=20, n_layer=1, n_head=2))
    assert decoder_for(odd, torch.float32).kernel is None

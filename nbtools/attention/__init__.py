"""Attention: the formulas, the weights of one forward pass, rollout, head ablation, the logit lens, and the cost."""

from nbtools.attention.ablation import ablate_each_head, ablate_heads
from nbtools.attention.cost import AttentionCost, measure_cost
from nbtools.attention.formulas import (
    causal_mask,
    merge_heads,
    multi_head,
    relative_difference,
    scaled_dot_product,
    sinusoidal_positions,
    softmax,
    split_heads,
)
from nbtools.attention.lens import logit_lens
from nbtools.attention.patterns import score_heads
from nbtools.attention.reading import Reading, read_attention
from nbtools.attention.trace import AttentionTrace, rollout, trace_attention

__all__ = [
    "AttentionCost",
    "AttentionTrace",
    "Reading",
    "ablate_each_head",
    "ablate_heads",
    "causal_mask",
    "logit_lens",
    "measure_cost",
    "merge_heads",
    "multi_head",
    "read_attention",
    "relative_difference",
    "rollout",
    "scaled_dot_product",
    "score_heads",
    "sinusoidal_positions",
    "softmax",
    "split_heads",
    "trace_attention",
]

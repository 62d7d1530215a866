"""Attention: the formulas, the trace of one forward pass, rollout, and what it costs."""

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
from nbtools.attention.trace import AttentionTrace, rollout, trace_attention

__all__ = [
    "AttentionCost",
    "AttentionTrace",
    "causal_mask",
    "measure_cost",
    "merge_heads",
    "multi_head",
    "relative_difference",
    "rollout",
    "scaled_dot_product",
    "sinusoidal_positions",
    "softmax",
    "split_heads",
    "trace_attention",
]

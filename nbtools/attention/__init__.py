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
from nbtools.attention.knockout import Lens, knock_out, knock_out_each, logit_lens
from nbtools.attention.patterns import HeadScores, score_heads
from nbtools.attention.reading import Cell, Reading, read_attention
from nbtools.attention.trace import AttentionTrace, rollout, trace_attention

__all__ = [
    "AttentionCost",
    "AttentionTrace",
    "Cell",
    "HeadScores",
    "Lens",
    "Reading",
    "causal_mask",
    "knock_out",
    "knock_out_each",
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

"""Beyond generation: sentiment classification, rewriting with an encoder-decoder, instructions, and text scores."""

from nbtools.tasks.classification import Classified, last_tokens, train_classifier, wilson_interval, zero_shot
from nbtools.tasks.instructions import instruct
from nbtools.tasks.rewriting import make_dates, train_rewriter
from nbtools.tasks.scores import score_texts

__all__ = [
    "Classified",
    "instruct",
    "last_tokens",
    "make_dates",
    "score_texts",
    "train_classifier",
    "train_rewriter",
    "wilson_interval",
    "zero_shot",
]

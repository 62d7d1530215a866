"""Beyond generation: sentiment classification, rewriting with an encoder-decoder, instructions, and text scores."""

from nbtools.tasks.classification import Classified, Classifier, bag_of_words, train_classifier, wilson_interval, zero_shot
from nbtools.tasks.instructions import instruct
from nbtools.tasks.rewriting import Rewriter, make_dates, train_rewriter
from nbtools.tasks.scores import TextScores, score_texts

__all__ = [
    "Classified",
    "Classifier",
    "Rewriter",
    "TextScores",
    "bag_of_words",
    "instruct",
    "make_dates",
    "score_texts",
    "train_classifier",
    "train_rewriter",
    "wilson_interval",
    "zero_shot",
]

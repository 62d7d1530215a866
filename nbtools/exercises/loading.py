"""The exercises of 02_loading: counting a block's parameters, reading the next token, and the tied output layer."""

from __future__ import annotations

from typing import Any

from nbtools.exercises.framework import WrongAnswer
from nbtools.exercises.trials import function_exercise

BLOCK_SOLUTION = """
def block_parameters(d):
    attention = (d * 3 * d + 3 * d) + (d * d + d)        # c_attn, c_proj: weights and biases
    feed_forward = (d * 4 * d + 4 * d) + (4 * d * d + d)  # c_fc, c_proj
    norms = 2 * (d + d)                                  # ln_1, ln_2: a scale and a shift each
    return attention + feed_forward + norms
"""

NEXT_SOLUTION = """
def next_token_id(logits):
    return int(logits[0, -1].argmax())
"""

TIED_SOLUTION = """
def tied_logits(hidden, embedding):
    return hidden @ embedding.T
"""


def _logits() -> list[tuple[Any, ...]]:
    """Small logits [1, tokens, vocabulary] for which each likely mistake gives a different id."""
    import torch

    first = torch.tensor([[[0.0, 9.0, 1.0, 0.5], [8.0, 0.0, 2.0, 1.0], [0.0, 1.0, 2.0, 6.0]]])
    second = torch.tensor([[[1.0, 0.0, 7.0, 2.0, 0.0], [3.0, 2.5, 0.0, 9.0, 1.0], [0.0, 4.0, 1.0, 2.0, 3.0]]])
    return [(first,), (second,)]


def _tied() -> list[tuple[Any, ...]]:
    import torch

    generator = torch.Generator().manual_seed(2)
    square = torch.randn(4, 4, generator=generator)  # here a forgotten transpose has the right shape and the wrong values
    return [
        (torch.randn(3, 4, generator=generator), square),
        (torch.randn(2, 4, generator=generator), torch.randn(6, 4, generator=generator)),
    ]


CRUMBS = function_exercise(
    id="02-crumbs",
    title="How finely is it cut?",
    minutes=5,
    difficulty=1,
    task="A tokenizer cuts `text` into `count` tokens. Return the bytes per token, counted in UTF-8: 4 to 5 for English, near 1 where "
    "it knows nothing.",
    hints=(
        "How many bytes does the text have? That is not its number of characters.",
        '`len(text.encode("utf8"))` counts bytes.',
        '`len(text.encode("utf8")) / count`',
    ),
    trials=lambda: [("The film was good.", 5), ("café", 2), ("日本", 6)],
    praise="A low number means long sequences, slow training, and a model that sees crumbs.",
    solution='def bytes_per_token(text, count):\n    return len(text.encode("utf8")) / count',
    wrong=(
        WrongAnswer(
            "def bytes_per_token(text, count):\n    return len(text) / count",
            "That counts characters: é has two bytes in UTF-8, 日 has three.",
        ),
        WrongAnswer(
            'def bytes_per_token(text, count):\n    return count / len(text.encode("utf8"))',
            "That is tokens per byte, the other way round.",
        ),
    ),
)

EXERCISES = (
    function_exercise(
        id="02-block",
        title="Count one block",
        minutes=10,
        difficulty=2,
        task="Write `block_parameters(d)`: the number of parameters in one `GPT2Block` of width `d`, read off the module tree above. "
        "The feed-forward part is four times as wide as the model.",
        hints=(
            "A `Conv1D(nf, nx)` has nx * nf weights and nf biases; a `LayerNorm` has a scale and a shift of width d.",
            "Attention: c_attn goes from d to 3d, c_proj from d to d. Feed-forward: c_fc goes from d to 4d, c_proj back. Two norms.",
            "The sum is 12 d² + 13 d.",
        ),
        trials=lambda: [(256,), (768,), (10,)],
        tolerance=0.0,
        praise="12 d² + 13 d: twice the width, four times the weights. Twelve such blocks are two thirds of GPT-2 small.",
        solution=BLOCK_SOLUTION,
        wrong=(
            WrongAnswer(
                "def block_parameters(d):\n    return 12 * d * d",
                "Those are the four matrices alone: each has a bias, and the two layer norms a scale and a shift.",
            ),
            WrongAnswer(
                "def block_parameters(d):\n    return 12 * d * d + 9 * d",
                "The layer norms are missing: two of them, each with a scale and a shift of width d.",
            ),
            WrongAnswer(
                "def block_parameters(d):\n    return 4 * d * d + 8 * d",
                "The feed-forward part is missing, and two thirds of a block lie there.",
            ),
            WrongAnswer(
                "def block_parameters(d):\n    return 10 * d * d + 11 * d",
                "c_attn makes queries, keys and values in one product: its output is 3d wide, not d.",
            ),
            WrongAnswer(
                "def block_parameters(d):\n    return 12 * d * d + 12 * d",
                "One vector of width d is missing: every Conv1D has a bias as wide as its output, and every norm two vectors.",
            ),
        ),
    ),
    function_exercise(
        id="02-next",
        title="The next token from logits",
        minutes=5,
        difficulty=1,
        task="Write `next_token_id(logits)`: given logits of shape [1, tokens, vocabulary], return the id of the token that the model "
        "finds likeliest to come next, as an `int`.",
        hints=(
            "Each position holds the logits of the token after it. Which position is followed by the text's continuation?",
            "The last position, and there the index of the largest logit. The softmax keeps the order, so it is not needed.",
            "`int(logits[0, -1].argmax())`",
        ),
        trials=_logits,
        tolerance=0.0,
        praise="The last position predicts what follows, and its largest logit is the likeliest token: greedy decoding repeats that line.",
        solution=NEXT_SOLUTION,
        wrong=(
            WrongAnswer(
                "def next_token_id(logits):\n    return int(logits[0, 0].argmax())",
                "The first position predicts the second token of the text, which is known already.",
            ),
            WrongAnswer(
                "def next_token_id(logits):\n    return int(logits.argmax())",
                "That is the largest logit of all positions, counted through the flattened array: look at the last position alone.",
            ),
            WrongAnswer(
                "def next_token_id(logits):\n    return int(logits[0, -1].max())",
                "`max` is the logit itself; the id is its index, which `argmax` gives.",
            ),
            WrongAnswer(
                "def next_token_id(logits):\n    return int(logits[0, -2].argmax())",
                "Position -2 predicts the last token of the text, not the one after it.",
            ),
        ),
    ),
    function_exercise(
        id="02-tied",
        title="One matrix at both ends",
        minutes=5,
        difficulty=2,
        task="GPT-2's output layer has no separate weights: it uses the token embedding. Write `tied_logits(hidden, embedding)`: from "
        "hidden states [tokens, d] and the embedding [vocabulary, d] make logits [tokens, vocabulary].",
        hints=(
            "The logit of a token is the dot product of the hidden state and that token's embedding.",
            "A dot product of every row with every row is a matrix product with a transposed matrix.",
            "`hidden @ embedding.T`",
        ),
        trials=_tied,
        praise="A logit is a dot product: a token scores high where the hidden state points in the direction of its embedding.",
        solution=TIED_SOLUTION,
        wrong=(
            WrongAnswer(
                "def tied_logits(hidden, embedding):\n    return hidden @ embedding",
                "The embedding must be transposed: [tokens, d] times [d, vocabulary].",
            ),
            WrongAnswer(
                "def tied_logits(hidden, embedding):\n    return embedding @ hidden.T",
                "That is [vocabulary, tokens]: rows and columns are swapped.",
            ),
            WrongAnswer(
                "def tied_logits(hidden, embedding):\n    return (hidden @ embedding.T).softmax(-1)",
                "Those are probabilities already: logits come before the softmax.",
            ),
        ),
    ),
    CRUMBS,
)

"""The exercises of 03_generation: temperature, the nucleus, and which positions are padding."""

from __future__ import annotations

from typing import Any

from nbtools.exercises.framework import WrongAnswer
from nbtools.exercises.trials import function_exercise

TEMPERATURE_SOLUTION = """
def with_temperature(logits, temperature):
    return torch.softmax(logits / temperature, dim=-1)
"""

NUCLEUS_SOLUTION = """
def nucleus_size(probabilities, p):
    total = 0.0
    for count, probability in enumerate(sorted(probabilities, reverse=True), start=1):
        total += probability
        if total >= p:
            return count
    return len(probabilities)
"""

PADDING_SOLUTION = """
def left_padded_mask(lengths):
    longest = max(lengths)
    return [[0] * (longest - length) + [1] * length for length in lengths]
"""


def _temperatures() -> list[tuple[Any, ...]]:
    import torch

    return [(torch.tensor([2.0, 1.0, 0.0, -1.0]), 0.5), (torch.tensor([2.0, 1.0, 0.0, -1.0]), 2.0), (torch.tensor([0.3, -4.0, 3.0]), 1.0)]


def _min_p_trials() -> list[tuple[object, ...]]:
    import torch

    return [
        (torch.tensor([0.5, 0.3, 0.15, 0.05]), 0.2),
        (torch.tensor([0.26, 0.25, 0.25, 0.24]), 0.9),
        (torch.tensor([0.9, 0.06, 0.04]), 0.06),
    ]


MIN_P = function_exercise(
    id="03-min-p",
    title="Relative to the likeliest token",
    minutes=6,
    difficulty=2,
    task=(
        "`probabilities` is a tensor of shape `[vocabulary]`. Return how many tokens min-p keeps: those that are at least `p` times as "
        "likely as the likeliest."
    ),
    hints=(
        "The threshold depends on the likeliest token. What is it when that token has probability 0.5 and `p` is 0.1?",
        "`p * probabilities.max()` is the threshold.",
        "`int((probabilities >= p * probabilities.max()).sum())`",
    ),
    trials=_min_p_trials,
    praise="Where the model is certain, few tokens are kept; where it is not, many.",
    solution="def kept_by_min_p(probabilities, p):\n    return int((probabilities >= p * probabilities.max()).sum())",
    wrong=(
        WrongAnswer(
            "def kept_by_min_p(probabilities, p):\n    return int((probabilities >= p).sum())",
            "That compares with `p` itself; the threshold is `p` times the largest probability.",
        ),
        WrongAnswer(
            "def kept_by_min_p(probabilities, p):\n    return int((probabilities.sort(descending=True).values.cumsum(0) < p).sum()) + 1",
            "That is top-p: it adds probabilities up until they reach `p`.",
        ),
    ),
)

EXERCISES = (
    function_exercise(
        id="03-temperature",
        title="Temperature",
        minutes=5,
        difficulty=1,
        task="Write `with_temperature(logits, temperature)`: the probabilities of the next token at that temperature, a tensor that "
        "sums to 1.",
        hints=(
            "At a low temperature the likeliest token should gain. Does that need larger or smaller differences between logits?",
            "Scale the logits first and take the softmax afterwards.",
            "`torch.softmax(logits / temperature, dim=-1)`",
        ),
        trials=_temperatures,
        praise="Below 1 the likeliest tokens gain, above 1 the tail does, and at 1 nothing changes.",
        solution=TEMPERATURE_SOLUTION,
        wrong=(
            WrongAnswer(
                "def with_temperature(logits, temperature):\n    return torch.softmax(logits * temperature, dim=-1)",
                "The temperature divides: with `*` a low temperature flattens where it should sharpen.",
            ),
            WrongAnswer(
                "def with_temperature(logits, temperature):\n    return torch.softmax(logits, dim=-1) / temperature",
                "Divided after the softmax, the numbers no longer sum to 1: the logits are divided, then comes the softmax.",
            ),
            WrongAnswer(
                "def with_temperature(logits, temperature):\n    scaled = torch.softmax(logits, dim=-1) / temperature\n"
                "    return scaled / scaled.sum()",
                "Dividing probabilities and making them sum to 1 again undoes itself: divide the logits.",
            ),
            WrongAnswer(
                "def with_temperature(logits, temperature):\n    return logits / temperature",
                "Those are still logits: the softmax makes probabilities of them.",
            ),
        ),
    ),
    function_exercise(
        id="03-nucleus",
        title="The nucleus of top-p",
        minutes=8,
        difficulty=2,
        task="Write `nucleus_size(probabilities, p)`: how many tokens top-p keeps, that is the size of the smallest set of tokens whose "
        "probabilities sum to at least `p`. `probabilities` is an unsorted list.",
        hints=(
            "The smallest set is made of the likeliest tokens: put them in order first.",
            "Add them up from the top. The token that brings the sum to `p` belongs to the set.",
            "A loop over `sorted(probabilities, reverse=True)` that returns the count as soon as the sum is at least `p`.",
        ),
        trials=lambda: [
            ([0.05, 0.5, 0.15, 0.3], 0.9),
            ([0.2, 0.2, 0.2, 0.2, 0.2], 0.5),
            ([0.04, 0.96], 0.95),
            ([0.125, 0.25, 0.5, 0.125], 0.75),
        ],
        tolerance=0.0,
        praise="Two tokens where the model is certain, many where it is not: the nucleus adapts to it.",
        solution=NUCLEUS_SOLUTION,
        wrong=(
            WrongAnswer(
                "def nucleus_size(probabilities, p):\n    total, count = 0.0, 0\n    for one in sorted(probabilities, reverse=True):\n"
                "        total += one\n        if total > p:\n            break\n        count += 1\n    return count",
                "The token that brings the sum to `p` belongs to the nucleus; without it a certain model would keep nothing.",
            ),
            WrongAnswer(
                "def nucleus_size(probabilities, p):\n    return sum(one >= p for one in probabilities)",
                "That compares each probability with `p`; top-p looks at their sum.",
            ),
            WrongAnswer(
                "def nucleus_size(probabilities, p):\n    total = 0.0\n    for count, one in enumerate(probabilities, start=1):\n"
                "        total += one\n        if total >= p:\n            return count\n    return len(probabilities)",
                "The probabilities are summed in the order given; the smallest set begins with the likeliest.",
            ),
            WrongAnswer(
                "def nucleus_size(probabilities, p):\n    return sum(one >= p * max(probabilities) for one in probabilities)",
                "That is min-p, a fraction of the largest probability; top-p needs a sum.",
            ),
        ),
    ),
    function_exercise(
        id="03-padding",
        title="The mask of a padded batch",
        minutes=5,
        difficulty=2,
        task="Prompts of different lengths are padded on the left to the longest. Write `left_padded_mask(lengths)`: one list of 0 and 1 "
        "per prompt, 1 where a token is real. For `[2, 3]` that is `[[0, 1, 1], [1, 1, 1]]`.",
        hints=(
            "Every row is as long as the longest prompt, and all rows end together.",
            "A row holds longest - length zeros, then length ones.",
            "`[[0] * (longest - length) + [1] * length for length in lengths]`",
        ),
        trials=lambda: [([2, 3],), ([1, 4, 2],), ([3],)],
        tolerance=0.0,
        praise="Zeros first and real tokens last: every row ends where its continuation begins.",
        solution=PADDING_SOLUTION,
        wrong=(
            WrongAnswer(
                "def left_padded_mask(lengths):\n    return [[1] * length + [0] * (max(lengths) - length) for length in lengths]",
                "That pads on the right: the model would continue after the padding, not after the prompt.",
            ),
            WrongAnswer(
                "def left_padded_mask(lengths):\n    return [[1] * (max(lengths) - length) + [0] * length for length in lengths]",
                "Ones and zeros are exchanged: 1 marks a token to be read, 0 padding.",
            ),
            WrongAnswer(
                "def left_padded_mask(lengths):\n    longest = max(lengths)\n    return [[1] * longest for length in lengths]",
                "With ones everywhere the model reads the padding as text.",
            ),
        ),
    ),
    MIN_P,
)

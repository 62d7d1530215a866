"""The exercises of notebook 01: the scale, softmax, the mask, the size of a layer, wavelengths, and what runs in parallel."""

from __future__ import annotations

from typing import Any

from nbtools.exercises.framework import Exercise, Verdict, WrongAnswer, failed, solved
from nbtools.exercises.trials import function_exercise


def _score_rows() -> list[tuple[Any, ...]]:
    import torch

    rows = ([1.0, 2.0, 3.0], [[0.0, 1.0, 2.0], [5.0, 1.0, 1.0]], [1000.0, 1001.0, 999.0])
    return [(torch.tensor(scores),) for scores in rows]


SCALE = function_exercise(
    id="01-scale",
    title="The right divisor",
    minutes=5,
    difficulty=2,
    task=(
        "Above, the entries of $q$ and $k$ had variance 1. Suppose that they are independent with mean 0 and **standard deviation** `s`. "
        "Return the number to divide $q \\cdot k$ by, so that the result has variance 1."
    ),
    hints=(
        "What is the variance of the product of one entry of q and one of k, when each has variance s²?",
        "The variance of one product is s² · s² = s⁴, and d_k independent products add up to d_k · s⁴.",
        "Dividing a number by c divides its variance by c², so the divisor is the square root of that sum.",
    ),
    trials=lambda: [(16, 1.0), (64, 1.0), (32, 0.5), (100, 3.0)],
    praise="Variances add up, so the spread of a dot product grows with the square root of its length, and the divisor undoes just that.",
    solution="def divisor(d_k, s):\n    return s**2 * d_k**0.5",
    wrong=(
        WrongAnswer(
            "def divisor(d_k, s):\n    return d_k * s**4",
            "That is the variance itself. Dividing by it makes the variance 1 / variance; divide by the standard deviation.",
        ),
        WrongAnswer(
            "def divisor(d_k, s):\n    return d_k**0.5",
            "That holds for s = 1 only: both factors carry their own spread s into the product.",
        ),
        WrongAnswer(
            "def divisor(d_k, s):\n    return s * d_k**0.5",
            "s came in once, but there are two factors, q and k, and each has standard deviation s.",
        ),
    ),
)

SOFTMAX = function_exercise(
    id="01-softmax",
    title="A softmax that cannot overflow",
    minutes=5,
    difficulty=1,
    task=(
        "Write a softmax over the **last** axis of a tensor `scores` that also survives scores near 1000, where `exp` gives infinity. "
        "Use only `exp`, `sum`, `max` and arithmetic."
    ),
    hints=(
        "Adding one constant to all scores of a row leaves the fraction unchanged. Which constant makes every exponent safe?",
        "Subtract each row's largest score first: the largest exponential is then exp(0) = 1.",
        "`scores.max(dim=-1, keepdim=True).values` has a shape that can be subtracted row by row.",
    ),
    trials=_score_rows,
    praise="Softmax depends only on differences between scores; subtracting the largest changes no weight and cannot overflow.",
    solution=(
        "def stable_softmax(scores):\n"
        "    powers = (scores - scores.max(dim=-1, keepdim=True).values).exp()\n"
        "    return powers / powers.sum(dim=-1, keepdim=True)"
    ),
    wrong=(
        WrongAnswer(
            "def stable_softmax(scores):\n    powers = scores.exp()\n    return powers / powers.sum(dim=-1, keepdim=True)",
            "The formula as printed overflows: exp(1000) is infinity in floating point, and infinity / infinity is not a number.",
        ),
        WrongAnswer(
            "def stable_softmax(scores):\n    powers = (scores - scores.max()).exp()\n    return powers / powers.sum()",
            "The sum ran over the whole tensor: each row is a separate distribution, so maximum and sum are taken over the last axis.",
        ),
        WrongAnswer(
            "def stable_softmax(scores):\n"
            "    powers = (scores - scores.max(dim=0, keepdim=True).values).exp()\n"
            "    return powers / powers.sum(dim=0, keepdim=True)",
            "The sum ran down the columns: the weights of one query are a row, which is the last axis.",
        ),
        WrongAnswer(
            "def stable_softmax(scores):\n"
            "    powers = (scores / scores.max(dim=-1, keepdim=True).values).exp()\n"
            "    return powers / powers.sum(dim=-1, keepdim=True)",
            "Dividing by the largest score changes the differences between scores, and with them the weights. Subtract it instead.",
        ),
    ),
)

MASK = function_exercise(
    id="01-mask",
    title="A mask with a window",
    minutes=8,
    difficulty=2,
    task=(
        "Some models let a token attend only to the latest `window` tokens, itself included, which makes long texts cheap. Return the "
        "boolean mask `[n, n]`, True where row `i` may attend to column `j`."
    ),
    hints=(
        "Two conditions must hold: j is not in the future, and j is not too far in the past.",
        "With window = 1 a token attends only to itself; with window = n the mask is the causal mask.",
        "`i = torch.arange(n)[:, None]` and `j = torch.arange(n)[None, :]` let you write both conditions on i - j and join them by &.",
    ),
    trials=lambda: [(3, 3), (3, 1), (3, 2), (6, 3)],
    praise="Mask and window together leave at most n · window scores, so the cost grows with the length and no longer with its square.",
    solution=(
        "def window_mask(n, window):\n"
        "    distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]\n"
        "    return (distance >= 0) & (distance < window)"
    ),
    wrong=(
        WrongAnswer(
            "def window_mask(n, window):\n    return torch.ones(n, n, dtype=torch.bool).tril()",
            "That is the plain causal mask: it forgets the limit on how far back a token may look.",
        ),
        WrongAnswer(
            "def window_mask(n, window):\n"
            "    distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]\n"
            "    return distance.abs() < window",
            "Your tokens also attend to the future: a later token (j > i) must be hidden, or the model sees the word it should predict.",
        ),
        WrongAnswer(
            "def window_mask(n, window):\n"
            "    distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]\n"
            "    return (distance > 0) & (distance <= window)",
            "Your tokens may not attend to themselves. They should: the first token has nothing else, so its row would be empty.",
        ),
        WrongAnswer(
            "def window_mask(n, window):\n"
            "    distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]\n"
            "    return (distance >= 0) & (distance <= window)",
            "One token too many: the token itself is one of the `window` tokens that it may attend to.",
        ),
        WrongAnswer(
            "def window_mask(n, window):\n"
            "    distance = torch.arange(n)[None, :] - torch.arange(n)[:, None]\n"
            "    return (distance >= 0) & (distance < window)",
            "Rows and columns are swapped: the row is the query, so the allowed columns are on or left of the diagonal.",
        ),
    ),
)

PARAMETERS = function_exercise(
    id="01-parameters",
    title="How many weights does an attention layer have?",
    minutes=5,
    difficulty=1,
    task=(
        "Return the number of learned numbers in one attention layer of GPT-2, the four matrices and their four bias vectors, for a model "
        "of this `width` with this number of `heads`. The cell below counts them in the loaded layer."
    ),
    hints=(
        "W_Q, W_K, W_V and W_O are each width × width. What does cutting the width into heads change?",
        "Each of the four matrices comes with a bias of length `width`.",
        "The heads divide the width among themselves and add no weights. 4 · width² for the matrices, 4 · width for the biases.",
    ),
    trials=lambda: [(256, 8), (768, 12), (768, 1), (12, 3)],
    praise="The number of heads does not appear: heads divide the width, so more heads cost no more weights.",
    solution="def attention_parameters(width, heads):\n    return 4 * width**2 + 4 * width",
    wrong=(
        WrongAnswer(
            "def attention_parameters(width, heads):\n    return heads * (4 * width**2 + 4 * width)",
            "A head does not have its own full-size matrices: the heads are slices of one width × width matrix.",
        ),
        WrongAnswer(
            "def attention_parameters(width, heads):\n    return 3 * width**2 + 3 * width",
            "Q, K and V are there, but W_O is missing: the matrix that mixes the heads' results.",
        ),
        WrongAnswer(
            "def attention_parameters(width, heads):\n    return 4 * width**2",
            "The matrices are right. GPT-2 adds a learned bias to each of the four products; Llama does not.",
        ),
    ),
)

WAVELENGTH = function_exercise(
    id="01-wavelength",
    title="How far until a position repeats?",
    minutes=8,
    difficulty=2,
    task=(
        "Columns $2k$ and $2k+1$ of the sinusoid table are the sine and cosine of $i / 10000^{2k/d}$. Return after how many positions this "
        "pair has the same values again (`k` counts from 0, `d` is the width; the answer need not be an integer)."
    ),
    hints=(
        "Sine and cosine repeat when their angle has grown by 2π.",
        "From one position to the next the angle grows by 1 / 10000^(2k/d).",
        "Number of positions times growth per position = 2π. Solve for the number of positions; `math.pi` is available.",
    ),
    trials=lambda: [(0, 64), (1, 64), (16, 64), (31, 64), (100, 256)],
    praise="From 6.3 positions for the first pair to tens of thousands for the last: fast pairs tell neighbours apart, slow ones regions.",
    solution="def wavelength(k, d):\n    return 2 * math.pi * 10_000 ** (2 * k / d)",
    wrong=(
        WrongAnswer(
            "def wavelength(k, d):\n    return 10_000 ** (2 * k / d)",
            "That is the number of positions for an angle of 1. A full turn is 2π.",
        ),
        WrongAnswer(
            "def wavelength(k, d):\n    return 2 * math.pi * 10_000 ** (k / d)",
            "The exponent is 2k/d, the number of the even column over the width, so that the pairs span the range from 1 to nearly 10000.",
        ),
        WrongAnswer(
            "def wavelength(k, d):\n    return 2 * math.pi / 10_000 ** (2 * k / d)",
            "Upside down: later pairs turn more slowly, so they need more positions for a full turn.",
        ),
    ),
)


PASSES = {  # wrong answers, and what leads to each
    (1, 1): "Attention does not write in parallel: token 2 is chosen only after token 1, because it is read to predict it.",
    (100, 100): "Reading is not sequential: the causal mask hides the future from every position, so one pass scores them all.",
    (100, 1): "It is the other way round: known tokens can be read at once, unknown ones must be made one after the other.",
}


def _check_passes(answer: Any) -> Verdict:
    pair = tuple(answer) if isinstance(answer, (tuple, list)) else ()
    if pair == (1, 100):
        return solved("Known tokens are read side by side, which makes training fast; a token that is not there yet cannot be read.")
    likely = PASSES.get(pair, "Ask of each: are all the tokens known before the pass begins?")
    return failed("It should be two numbers of passes: to score 100 known tokens, and to write 100 new ones.", likely)


PARALLEL = Exercise(
    id="01-parallel",
    title="What runs in parallel?",
    minutes=3,
    difficulty=1,
    task=(
        "How many forward passes does a GPT-2 need, first, to give the probability of every token in a text of 100 known tokens, and, "
        "second, to write 100 new tokens after a prompt? Answer with the two numbers."
    ),
    hints=(
        "Look at the two halves of the last measurement: which of them had all its tokens beforehand?",
        "In the first case every position can be computed side by side; in the second, each token must be chosen before the next.",
        "One pass for all that is known. One pass for each token that is not.",
    ),
    check=_check_passes,
    solution="passes = (1, 100)",
    wrong=tuple(WrongAnswer(f"passes = {pair}", misconception) for pair, misconception in PASSES.items()),
)

EXERCISES = (SCALE, SOFTMAX, MASK, PARAMETERS, WAVELENGTH, PARALLEL)

"""The exercises of notebook 01: the scale, softmax, the mask, the size of a layer, wavelengths, and what runs in parallel."""

from __future__ import annotations

from typing import Any

from nbtools.exercises.definition import Exercise, Verdict, failed, function_exercise

PASSES = {  # wrong answers, and what leads to each
    (1, 1): "Attention does not write in parallel: token 2 is chosen only after token 1, because it is read to predict it.",
    (100, 100): "Reading is not sequential: the causal mask hides the future from every position, so one pass scores them all.",
    (100, 1): "It is the other way round: known tokens can be read at once, unknown ones must be made one after the other.",
}


def _check_passes(answer: Any) -> Verdict:
    pair = tuple(answer) if isinstance(answer, (tuple, list)) else ()
    if pair == (1, 100):
        return Verdict(True, "Known tokens are read side by side, which makes training fast; a token that is not there yet cannot be read.")
    likely = PASSES.get(pair, "Ask of each: are all the tokens known before the pass begins?")
    return failed("It should be two numbers of passes: to score 100 known tokens, and to write 100 new ones.", likely)


EXERCISES = (
    function_exercise(
        "01-scale",
        "The right divisor",
        hints=(
            "What is the variance of the product of one entry of q and one of k, when each has variance s²?",
            "The variance of one product is s² · s² = s⁴, and d_k independent products add up to d_k · s⁴.",
            "Dividing a number by c divides its variance by c², so the divisor is the square root of that sum.",
        ),
        signature="divisor(d_k, s)",
        solution="s**2 * d_k**0.5",
        wrong={
            "d_k * s**4": "That is the variance itself. Dividing by it makes the variance 1 / variance; divide by the standard deviation.",
            "d_k**0.5": "That holds for s = 1 only: both factors carry their own spread s into the product.",
            "s * d_k**0.5": "s came in once, but there are two factors, q and k, and each has standard deviation s.",
        },
        trials=[(16, 1.0), (64, 1.0), (32, 0.5), (100, 3.0)],
        praise=(
            "Variances add up, so the spread of a dot product grows with the square root of its length, and the divisor undoes just that."
        ),
    ),
    function_exercise(
        "01-softmax",
        "A softmax that cannot overflow",
        hints=(
            "Adding one constant to all scores of a row leaves the fraction unchanged. Which constant makes every exponent safe?",
            "Subtract each row's largest score first: the largest exponential is then exp(0) = 1.",
            "`scores.max(dim=-1, keepdim=True).values` has a shape that can be subtracted row by row.",
        ),
        signature="stable_softmax(scores)",
        solution="""
            powers = (scores - scores.max(dim=-1, keepdim=True).values).exp()
            return powers / powers.sum(dim=-1, keepdim=True)
        """,
        wrong={
            "scores.exp() / scores.exp().sum(dim=-1, keepdim=True)": (
                "The formula as printed overflows: exp(1000) is infinity in floating point, and infinity / infinity is not a number."
            ),
            "torch.softmax(scores.flatten(), dim=0).view_as(scores)": (
                "The sum ran over the whole tensor: each row is a separate distribution, so maximum and sum are taken over the last axis."
            ),
            "torch.softmax(scores, dim=0)": "The sum ran down the columns: the weights of one query are a row, which is the last axis.",
            "torch.softmax(scores / scores.max(dim=-1, keepdim=True).values, dim=-1)": (
                "Dividing by the largest score changes the differences between scores, and with them the weights. Subtract it instead."
            ),
            """
                powers = (scores - scores.max()).exp()
                return powers / powers.sum(dim=-1, keepdim=True)
            """: "The largest score of the whole tensor leaves 0 / 0 in a row that is far below it: take each row's own.",
            """
                powers = (scores - scores.mean(dim=-1, keepdim=True)).exp()
                return powers / powers.sum(dim=-1, keepdim=True)
            """: "A score can still be far above its row's mean, and its exponential overflows: subtract the largest.",
        },
        # The third has rows far apart, so that the largest score of all rows leaves 0 / 0; the fourth a row far above its mean.
        trials=[
            ([1.0, 2.0, 3.0],),
            ([[0.0, 1.0, 2.0], [5.0, 1.0, 1.0]],),
            ([[1000.0, 1001.0, 999.0], [0.0, 1.0, 2.0]],),
            ([0.0, 0.0, 900.0],),
        ],
        tensors=True,
        avoid=dict.fromkeys(
            ("softmax", "log_softmax", "logsumexp"), "That calls PyTorch's own. Write it with exp, sum, max and arithmetic."
        ),
        praise="Softmax depends only on differences between scores; subtracting the largest changes no weight and cannot overflow.",
    ),
    function_exercise(
        "01-mask",
        "A mask with a window",
        hints=(
            "Two conditions must hold: j is not in the future, and j is not too far in the past.",
            "With window = 1 a token attends only to itself; with window = n the mask is the causal mask.",
            "`i = torch.arange(n)[:, None]` and `j = torch.arange(n)[None, :]` let you write both conditions on i - j and join them by &.",
        ),
        signature="window_mask(n, window)",
        solution="""
            distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]
            return (distance >= 0) & (distance < window)
        """,
        wrong={
            "torch.ones(n, n, dtype=torch.bool).tril()": (
                "That is the plain causal mask: it forgets the limit on how far back a token may look."
            ),
            "(torch.arange(n)[:, None] - torch.arange(n)[None, :]).abs() < window": (
                "Your tokens also attend to the future: a later token (j > i) must be hidden, or the model sees the word it should predict."
            ),
            """
                distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]
                return (distance > 0) & (distance <= window)
            """: "Your tokens may not attend to themselves. They should: the first token has nothing else, so its row would be empty.",
            """
                distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]
                return (distance >= 0) & (distance <= window)
            """: "One token too many: the token itself is one of the `window` tokens that it may attend to.",
            """
                distance = torch.arange(n)[None, :] - torch.arange(n)[:, None]
                return (distance >= 0) & (distance < window)
            """: "Rows and columns are swapped: the row is the query, so the allowed columns are on or left of the diagonal.",
        },
        trials=[(3, 3), (3, 1), (3, 2), (6, 3)],
        praise="Mask and window together leave at most n · window scores, so the cost grows with the length and no longer with its square.",
    ),
    function_exercise(
        "01-parameters",
        "How many weights does an attention layer have?",
        hints=(
            "W_Q, W_K, W_V and W_O are each width × width. What does cutting the width into heads change?",
            "Each of the four matrices comes with a bias of length `width`.",
            "The heads divide the width among themselves and add no weights. 4 · width² for the matrices, 4 · width for the biases.",
        ),
        signature="attention_parameters(width, heads)",
        solution="4 * width**2 + 4 * width",
        wrong={
            "heads * (4 * width**2 + 4 * width)": (
                "A head does not have its own full-size matrices: the heads are slices of one width × width matrix."
            ),
            "3 * width**2 + 3 * width": "Q, K and V are there, but W_O is missing: the matrix that mixes the heads' results.",
            "4 * width**2": "The matrices are right. GPT-2 adds a learned bias to each of the four products; Llama does not.",
        },
        trials=[(256, 8), (768, 12), (768, 1), (12, 3)],
        praise="The number of heads does not appear: heads divide the width, so more heads cost no more weights.",
    ),
    function_exercise(
        "01-wavelength",
        "How far until a position repeats?",
        hints=(
            "Sine and cosine repeat when their angle has grown by 2π.",
            "From one position to the next the angle grows by 1 / 10000^(2k/d).",
            "Number of positions times growth per position = 2π. Solve for the number of positions; `math.pi` is available.",
        ),
        signature="wavelength(k, d)",
        solution="2 * math.pi * 10_000 ** (2 * k / d)",
        wrong={
            "10_000 ** (2 * k / d)": "That is the number of positions for an angle of 1. A full turn is 2π.",
            "2 * math.pi * 10_000 ** (k / d)": (
                "The exponent is 2k/d, the number of the even column over the width, so that the pairs span the range from 1 to nearly "
                "10000."
            ),
            "2 * math.pi / 10_000 ** (2 * k / d)": (
                "Upside down: later pairs turn more slowly, so they need more positions for a full turn."
            ),
        },
        trials=[(0, 64), (1, 64), (16, 64), (31, 64), (100, 256)],
        praise=(
            "From 6.3 positions for the first pair to tens of thousands for the last: fast pairs tell neighbours apart, slow ones regions."
        ),
    ),
    Exercise(
        "01-parallel",
        "What runs in parallel?",
        hints=(
            "Look at the two halves of the last measurement: which of them had all its tokens beforehand?",
            "In the first case every position can be computed side by side; in the second, each token must be chosen before the next.",
            "One pass for all that is known. One pass for each token that is not.",
        ),
        check=_check_passes,
        solution="passes = (1, 100)",
        wrong={f"passes = {pair}": misconception for pair, misconception in PASSES.items()},
    ),
)

"""The exercises of notebook 06: document masks, positions, the amount of padding, and finding a mistake by its symptoms."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

EXERCISES = (
    function_exercise(
        "06-apart",
        "Documents that cannot see each other",
        hints=(
            "Two conditions, both a square of True and False. When do both hold?",
            "Compare `documents` as a column with `documents` as a row; and keep the lower triangle.",
            "`(documents[:, None] == documents[None, :]).tril()`",
        ),
        signature="may_attend(documents)",
        solution="(documents[:, None] == documents[None, :]).tril()",
        wrong={
            "torch.ones(len(documents), len(documents)).tril().bool()": (
                "That is the causal mask alone: later documents still see earlier ones."
            ),
            "documents[:, None] == documents[None, :]": "Within its document a token may now see the future; then the task is to copy.",
            "(documents[:, None] == documents[None, :]).triu()": (
                "Rows are queries and columns are keys: that triangle lets each token see only what comes after it."
            ),
        },
        trials=[([0, 0, 1, 1, 1],), ([3],), ([2, 2, 2],), ([0, 1, 2, 2],)],
        tensors=True,
        praise="That block-diagonal triangle is what transformers builds when positions start again and nothing is cached.",
    ),
    function_exercise(
        "06-positions",
        "Positions behind padding",
        hints=(
            "How many ones are there up to and including a token? How does that count relate to its position?",
            "`mask.cumsum(1)` counts them; the first token of the text must get 0, and padding must not get -1.",
            "`(mask.cumsum(1) - 1).clamp(min=0)`",
        ),
        signature="positions(mask)",
        solution="(mask.cumsum(1) - 1).clamp(min=0)",
        wrong={
            "torch.arange(mask.shape[1]).expand_as(mask)": (
                "Those count padding too: a short text would begin at a position where it never began in training."
            ),
            "mask.cumsum(1)": "The first token of a text is at position 0; here it is at 1.",
            "mask.cumsum(1) - 1": "Padding gets position -1 here, which the position embedding does not have.",
        },
        trials=[([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]],), ([[0, 1]],), ([[1, 1, 1]],)],
        tensors=True,
        praise="So a text has the same positions in any batch; `generate` computes them automatically, `forward` does not.",
    ),
    function_exercise(
        "06-useful",
        "How much is padding?",
        hints=(
            "How many positions are computed in total? How many of a review's tokens fit in one row?",
            "A review that is longer than the row fills it, and no more.",
            "`sum(min(length, width) for length in lengths) / (len(lengths) * width)`",
        ),
        signature="share_of_text(lengths, width)",
        solution="sum(min(length, width) for length in lengths) / (len(lengths) * width)",
        wrong={
            "sum(lengths) / (len(lengths) * width)": "A review longer than the row is cut: it cannot fill more than the row.",
            "1 - sum(min(length, width) for length in lengths) / (len(lengths) * width)": "That is the fraction of padding.",
        },
        trials=[([100, 300, 512], 512), ([600, 100], 200), ([10], 20)],
        praise="The rest is wasted computation. Packing brings the fraction to one.",
    ),
    function_exercise(
        "06-traces",
        "Find the mistake",
        hints=(
            "The four questions are asked in that order. Which two numbers does the first one compare?",
            "The held-out loss in nats is the logarithm of the perplexity.",
            "Second question: `run['loss'] < 0.5 * math.log(run['after'])`",
        ),
        imports="import math",
        signature="diagnose(run)",
        solution="""
            if run['after'] > run['before']:
                return 'double-shift'
            if run['loss'] < 0.5 * math.log(run['after']):
                return 'unmasked-padding'
            if run['ending'] < 0.01:
                return 'ends-masked'
            return 'fixed-length' if run['useful'] < 0.6 else 'none'
        """,
        wrong={
            """
                if run['after'] > run['before']:
                    return 'double-shift'
                if run['loss'] < 0.5 * run['after']:
                    return 'unmasked-padding'
                if run['ending'] < 0.01:
                    return 'ends-masked'
                return 'fixed-length' if run['useful'] < 0.6 else 'none'
            """: "A loss is in nats, a perplexity is its exponential: take the logarithm before comparing.",
            """
                if run['ending'] < 0.01:
                    return 'ends-masked'
                if run['after'] > run['before']:
                    return 'double-shift'
                if run['loss'] < 0.5 * math.log(run['after']):
                    return 'unmasked-padding'
                return 'fixed-length' if run['useful'] < 0.6 else 'none'
            """: (
                "A model that predicts the token after the next also never ends in the right place: check first whether the held-out "
                "perplexity rose."
            ),
        },
        trials=[
            ({"loss": 6.0, "before": 200.0, "after": 900.0, "ending": 0.0, "useful": 1.0},),
            ({"loss": 1.2, "before": 200.0, "after": 90.0, "ending": 0.3, "useful": 0.5},),
            ({"loss": 4.4, "before": 200.0, "after": 85.0, "ending": 0.0001, "useful": 0.9},),
            ({"loss": 4.4, "before": 200.0, "after": 85.0, "ending": 0.2, "useful": 0.4},),
            ({"loss": 4.4, "before": 200.0, "after": 85.0, "ending": 0.2, "useful": 1.0},),
            ({"loss": 3.0, "before": 200.0, "after": 85.0, "ending": 0.2, "useful": 1.0},),
        ],
        praise="None of these mistakes raises an error. They show only in the numbers.",
    ),
)

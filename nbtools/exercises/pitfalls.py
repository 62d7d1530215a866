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
            "Answer two questions first, with True or False: did the perplexity more than double; is the training loss far below the "
            "held-out one?",
            "The held-out loss in nats is the logarithm of the perplexity: `math.log(run['after'])`.",
            "Both True is `walkthrough`, one alone is `double-shift` or `unmasked-padding`; only then look at `ending` and `useful`.",
        ),
        imports="import math",
        signature="diagnose(run)",
        solution="""
            shifted = run['after'] > 2 * run['before']
            padded = run['loss'] < 0.75 * math.log(run['after'])
            if shifted:
                return 'walkthrough' if padded else 'double-shift'
            if padded:
                return 'unmasked-padding'
            if run['ending'] < 0.01:
                return 'ends-masked'
            return 'fixed-length' if run['useful'] < 0.6 else 'none'
        """,
        wrong={
            """
                shifted = run['after'] > 2 * run['before']
                padded = run['loss'] < 0.75 * run['after']
                if shifted:
                    return 'walkthrough' if padded else 'double-shift'
                if padded:
                    return 'unmasked-padding'
                if run['ending'] < 0.01:
                    return 'ends-masked'
                return 'fixed-length' if run['useful'] < 0.6 else 'none'
            """: "A loss is in nats, a perplexity is its exponential: take the logarithm before comparing.",
            """
                shifted = run['after'] > run['before']
                padded = run['loss'] < 0.75 * math.log(run['after'])
                if shifted:
                    return 'walkthrough' if padded else 'double-shift'
                if padded:
                    return 'unmasked-padding'
                if run['ending'] < 0.01:
                    return 'ends-masked'
                return 'fixed-length' if run['useful'] < 0.6 else 'none'
            """: (
                "With padding in the loss the perplexity can rise a little too, because half of the training goes elsewhere. Labels "
                "shifted twice make it rise manifold: ask whether it more than doubled."
            ),
            """
                if run['ending'] < 0.01:
                    return 'ends-masked'
                shifted = run['after'] > 2 * run['before']
                padded = run['loss'] < 0.75 * math.log(run['after'])
                if shifted:
                    return 'walkthrough' if padded else 'double-shift'
                if padded:
                    return 'unmasked-padding'
                return 'fixed-length' if run['useful'] < 0.6 else 'none'
            """: ("A model that predicts the token after the next also does not end where it should: ask for the end after the other two."),
            """
                if run['after'] > 2 * run['before']:
                    return 'double-shift'
                if run['loss'] < 0.75 * math.log(run['after']):
                    return 'unmasked-padding'
                if run['ending'] < 0.01:
                    return 'ends-masked'
                return 'fixed-length' if run['useful'] < 0.6 else 'none'
            """: "A run can have made both mistakes at once; that is the walkthrough.",
        },
        # The first five have the figures that this notebook's own runs with mini had.
        trials=[
            ({"loss": 7.07, "before": 297.0, "after": 964.0, "ending": 0.0035, "useful": 1.0},),
            ({"loss": 3.45, "before": 297.0, "after": 319.0, "ending": 0.0381, "useful": 0.52},),
            ({"loss": 5.46, "before": 297.0, "after": 248.7, "ending": 0.0277, "useful": 0.52},),
            ({"loss": 5.47, "before": 297.0, "after": 255.4, "ending": 0.0003, "useful": 0.76},),
            ({"loss": 4.41, "before": 297.0, "after": 965.7, "ending": 0.0119, "useful": 0.52},),
            ({"loss": 5.34, "before": 297.0, "after": 225.4, "ending": 0.0231, "useful": 1.0},),
            ({"loss": 3.0, "before": 200.0, "after": 40.0, "ending": 0.2, "useful": 1.0},),
            ({"loss": 1.2, "before": 200.0, "after": 90.0, "ending": 0.0, "useful": 0.5},),
        ],
        praise="None of these mistakes raises an error. They show only in the numbers.",
    ),
)

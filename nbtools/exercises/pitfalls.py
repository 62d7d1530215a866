"""The exercises of notebook 06: document masks, positions, the amount of padding, and finding a mistake by its symptoms."""

from __future__ import annotations

from nbtools.exercises.framework import WrongAnswer
from nbtools.exercises.trials import function_exercise


def _documents() -> list[tuple[object, ...]]:
    import torch

    return [(torch.tensor([0, 0, 1, 1, 1]),), (torch.tensor([3]),), (torch.tensor([2, 2, 2]),), (torch.tensor([0, 1, 2, 2]),)]


def _masks() -> list[tuple[object, ...]]:
    import torch

    return [(torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),), (torch.tensor([[0, 1]]),), (torch.tensor([[1, 1, 1]]),)]


BLOCK_MASK = function_exercise(
    id="06-apart",
    title="Documents that cannot see each other",
    minutes=10,
    difficulty=3,
    task=(
        "`documents` of shape `[tokens]` says which document each token of a packed block belongs to. Return a boolean tensor `[tokens, "
        "tokens]`, True where the token of the row may attend to the token of the column: not to the future, and not to another document."
    ),
    hints=(
        "Two conditions, both a square of True and False. When do both hold?",
        "Compare `documents` as a column with `documents` as a row; and keep the lower triangle.",
        "`(documents[:, None] == documents[None, :]).tril()`",
    ),
    trials=_documents,
    praise="That block-diagonal triangle is what transformers builds when positions start again and nothing is cached.",
    solution="def may_attend(documents):\n    return (documents[:, None] == documents[None, :]).tril()",
    wrong=(
        WrongAnswer(
            "def may_attend(documents):\n    return torch.ones(len(documents), len(documents)).tril().bool()",
            "That is the causal mask alone: later documents still see earlier ones.",
        ),
        WrongAnswer(
            "def may_attend(documents):\n    return documents[:, None] == documents[None, :]",
            "Within its document a token may now see the future; then the task is to copy.",
        ),
        WrongAnswer(
            "def may_attend(documents):\n    return (documents[:, None] == documents[None, :]).triu()",
            "Rows are queries and columns are keys: that triangle lets each token see only what comes after it.",
        ),
    ),
)

POSITIONS = function_exercise(
    id="06-positions",
    title="Positions behind padding",
    minutes=7,
    difficulty=2,
    task=(
        "`mask` of shape `[rows, tokens]` is 0 for padding, which is on the left, and 1 for text. Return the position of every "
        "token: 0 for the first token of the text, 1 for the next, and 0 for padding."
    ),
    hints=(
        "How many ones are there up to and including a token? How does that count relate to its position?",
        "`mask.cumsum(1)` counts them; the first token of the text must get 0, and padding must not get -1.",
        "`(mask.cumsum(1) - 1).clamp(min=0)`",
    ),
    trials=_masks,
    praise="So a text has the same positions in any batch; `generate` computes them automatically, `forward` does not.",
    solution="def positions(mask):\n    return (mask.cumsum(1) - 1).clamp(min=0)",
    wrong=(
        WrongAnswer(
            "def positions(mask):\n    return torch.arange(mask.shape[1]).expand_as(mask)",
            "Those count padding too: a short text would begin at a position where it never began in training.",
        ),
        WrongAnswer(
            "def positions(mask):\n    return mask.cumsum(1)",
            "The first token of a text is at position 0; here it is at 1.",
        ),
        WrongAnswer(
            "def positions(mask):\n    return mask.cumsum(1) - 1",
            "Padding gets position -1 here, which the position embedding does not have.",
        ),
    ),
)

USEFUL = function_exercise(
    id="06-useful",
    title="How much is padding?",
    minutes=4,
    difficulty=1,
    task=(
        "`lengths` lists how many tokens each review has. All are padded, or cut, to `width`. Return the fraction of the positions that "
        "contain text."
    ),
    hints=(
        "How many positions are computed in total? How many of a review's tokens fit in one row?",
        "A review that is longer than the row fills it, and no more.",
        "`sum(min(length, width) for length in lengths) / (len(lengths) * width)`",
    ),
    trials=lambda: [([100, 300, 512], 512), ([600, 100], 200), ([10], 20)],
    praise="The rest is wasted computation. Packing brings the fraction to one.",
    solution="def share_of_text(lengths, width):\n    return sum(min(length, width) for length in lengths) / (len(lengths) * width)",
    wrong=(
        WrongAnswer(
            "def share_of_text(lengths, width):\n    return sum(lengths) / (len(lengths) * width)",
            "A review longer than the row is cut: it cannot fill more than the row.",
        ),
        WrongAnswer(
            "def share_of_text(lengths, width):\n    return 1 - sum(min(length, width) for length in lengths) / (len(lengths) * width)",
            "That is the fraction of padding.",
        ),
    ),
)

TRACES = function_exercise(
    id="06-traces",
    title="Find the mistake",
    minutes=12,
    difficulty=3,
    task=(
        "A run is a dictionary: training `loss` (nats), held-out perplexity `before` and `after`, `ending` (probability of end-of-text "
        "where reviews end) and `useful` (fraction of positions that are text). Return the name of the likeliest mistake: "
        "`double-shift` if the held-out perplexity rose; else `unmasked-padding` if the training loss is below half of the held-out one "
        "(also in nats); else `ends-masked` if `ending` is below 0.01; else `fixed-length` if less than 0.6 is text; else `none`."
    ),
    hints=(
        "The four questions are asked in that order. Which two numbers does the first one compare?",
        "The held-out loss in nats is the logarithm of the perplexity.",
        "Second question: `run['loss'] < 0.5 * math.log(run['after'])`",
    ),
    trials=lambda: [
        ({"loss": 6.0, "before": 200.0, "after": 900.0, "ending": 0.0, "useful": 1.0},),
        ({"loss": 1.2, "before": 200.0, "after": 90.0, "ending": 0.3, "useful": 0.5},),
        ({"loss": 4.4, "before": 200.0, "after": 85.0, "ending": 0.0001, "useful": 0.9},),
        ({"loss": 4.4, "before": 200.0, "after": 85.0, "ending": 0.2, "useful": 0.4},),
        ({"loss": 4.4, "before": 200.0, "after": 85.0, "ending": 0.2, "useful": 1.0},),
        ({"loss": 3.0, "before": 200.0, "after": 85.0, "ending": 0.2, "useful": 1.0},),
    ],
    praise="None of these mistakes raises an error. They show only in the numbers.",
    solution=(
        "import math\n\n"
        "def diagnose(run):\n"
        "    if run['after'] > run['before']:\n        return 'double-shift'\n"
        "    if run['loss'] < 0.5 * math.log(run['after']):\n        return 'unmasked-padding'\n"
        "    if run['ending'] < 0.01:\n        return 'ends-masked'\n"
        "    return 'fixed-length' if run['useful'] < 0.6 else 'none'"
    ),
    wrong=(
        WrongAnswer(
            "def diagnose(run):\n"
            "    if run['after'] > run['before']:\n        return 'double-shift'\n"
            "    if run['loss'] < 0.5 * run['after']:\n        return 'unmasked-padding'\n"
            "    if run['ending'] < 0.01:\n        return 'ends-masked'\n"
            "    return 'fixed-length' if run['useful'] < 0.6 else 'none'",
            "A loss is in nats, a perplexity is its exponential: take the logarithm before comparing.",
        ),
        WrongAnswer(
            "import math\n\n"
            "def diagnose(run):\n"
            "    if run['ending'] < 0.01:\n        return 'ends-masked'\n"
            "    if run['after'] > run['before']:\n        return 'double-shift'\n"
            "    if run['loss'] < 0.5 * math.log(run['after']):\n        return 'unmasked-padding'\n"
            "    return 'fixed-length' if run['useful'] < 0.6 else 'none'",
            "A model that predicts the token after the next also never ends in the right place: check first whether the held-out "
            "perplexity rose.",
        ),
    ),
)

EXERCISES = (BLOCK_MASK, POSITIONS, USEFUL, TRACES)

"""The exercises of notebook 08: baselines, intervals, confusion, calibration, and what ROUGE and BLEU count."""

from __future__ import annotations

from nbtools.exercises.framework import WrongAnswer
from nbtools.exercises.trials import function_exercise

MAJORITY = function_exercise(
    id="08-majority",
    title="The laziest classifier",
    minutes=3,
    difficulty=1,
    task="`labels` is a list of 0 and 1. Return the accuracy of always giving the more frequent one.",
    hints=(
        "How often is it right? As often as the label that it gives occurs.",
        "The fraction of ones is `sum(labels) / len(labels)`; which fraction is the larger?",
        "`max(share, 1 - share)`",
    ),
    trials=lambda: [([1, 1, 0, 1],), ([0, 0, 0, 1],), ([0, 1],)],
    praise="An accuracy of 90 % says nothing before you know this number.",
    solution="def majority(labels):\n    share = sum(labels) / len(labels)\n    return max(share, 1 - share)",
    wrong=(
        WrongAnswer("def majority(labels):\n    return sum(labels) / len(labels)", "That always gives 1, also where 0 is more frequent."),
        WrongAnswer("def majority(labels):\n    return 0.5", "Only where both labels are equally frequent, as in our reviews."),
    ),
)

ERROR = function_exercise(
    id="08-standard-error",
    title="How uncertain is an accuracy?",
    minutes=6,
    difficulty=2,
    task="A classifier was right on `right` of `total` reviews. Return the standard error of its accuracy: $\\sqrt{p(1-p)/n}$.",
    hints=(
        "What is $p$ here, and what is $n$?",
        "`p = right / total`; the more reviews, the smaller the error, but only as one over the square root.",
        "`math.sqrt(p * (1 - p) / total)`",
    ),
    trials=lambda: [(80, 100), (425, 500), (5, 5), (20_000, 25_000)],
    praise="With 100 reviews, 80 % may be 72 % or 88 %: two standard errors to each side.",
    solution="import math\n\ndef standard_error(right, total):\n    p = right / total\n    return math.sqrt(p * (1 - p) / total)",
    wrong=(
        WrongAnswer(
            "import math\n\ndef standard_error(right, total):\n    p = right / total\n    return math.sqrt(p * (1 - p))",
            "That is the spread of one answer; the mean of many varies less, by the square root of their number.",
        ),
        WrongAnswer(
            "import math\n\ndef standard_error(right, total):\n    p = right / total\n    return p * (1 - p) / total",
            "That is the variance; the standard error is its square root.",
        ),
    ),
)

PRECISION = function_exercise(
    id="08-confusion",
    title="Two kinds of wrong",
    minutes=7,
    difficulty=2,
    task=(
        "`table[label][guess]` counts reviews: labels are rows, guesses are columns, 1 is positive. Return the pair (precision, recall) "
        "for positive: the fraction of predicted positives that are positive, and the fraction of positives that were predicted."
    ),
    hints=(
        "Both have the same numerator: positive reviews that were predicted positive. Where are they in the table?",
        "Precision divides by a column, recall by a row.",
        "`table[1][1] / (table[0][1] + table[1][1])` is the precision.",
    ),
    trials=lambda: [([[40, 10], [20, 30]],), ([[90, 0], [5, 5]],), ([[1, 3], [1, 3]],)],
    praise="Which of the two matters depends on what each kind of mistake costs.",
    solution=("def precision_and_recall(table):\n    hit = table[1][1]\n    return hit / (table[0][1] + hit), hit / (table[1][0] + hit)"),
    wrong=(
        WrongAnswer(
            "def precision_and_recall(table):\n    hit = table[1][1]\n    return hit / (table[1][0] + hit), hit / (table[0][1] + hit)",
            "The two are swapped: labels are rows, so recall divides by a row.",
        ),
        WrongAnswer(
            "def precision_and_recall(table):\n    share = (table[0][0] + table[1][1]) / sum(map(sum, table))\n    return share, share",
            "That is the accuracy, in which both kinds of mistakes disappear.",
        ),
    ),
)

CALIBRATE = function_exercise(
    id="08-calibrate",
    title="A word is likely anyway",
    minutes=6,
    difficulty=2,
    task=(
        "`odds` lists, for each review, $\\ln p(\\text{great}) - \\ln p(\\text{terrible})$ after the review and the question; `without` "
        "is the same after the question alone. Return the list of labels (1 positive) after subtracting `without`."
    ),
    hints=(
        "If “great” is ten times likelier than “terrible” without any review, what does that say about a review where it is five "
        "times likelier?",
        "Compare each entry of `odds` with `without`, not with zero.",
        "`[int(value > without) for value in odds]`",
    ),
    trials=lambda: [([2.0, 1.0, 3.0], 1.5), ([-1.0, -3.0], -2.0), ([0.5], 0.0), ([1.0, -0.5], -1.2)],
    praise="Calibration costs one question. Whether it helps depends on model and words: measure it.",
    solution="def labels(odds, without):\n    return [int(value > without) for value in odds]",
    wrong=(
        WrongAnswer(
            "def labels(odds, without):\n    return [int(value > 0) for value in odds]",
            "That takes the likelier word, whatever the model thinks of these words in general.",
        ),
        WrongAnswer(
            "def labels(odds, without):\n    return [int(value + without > 0) for value in odds]",
            "What the model predicts without a review must be subtracted, not added.",
        ),
    ),
)

ROUGE = function_exercise(
    id="08-rouge",
    title="ROUGE-1 by hand",
    minutes=10,
    difficulty=3,
    task=(
        "`text` and `reference` are lists of words. Return the F1 of shared words, from 0 to 1: a word counts as often as it occurs in "
        "both, and F1 is the harmonic mean of (shared / words of the text) and (shared / words of the reference). Nothing shared gives 0."
    ),
    hints=(
        'How often does "the" count, if it occurs three times in one and once in the other?',
        "`collections.Counter(text) & collections.Counter(reference)` keeps the smaller count of each word.",
        "`2 * shared / (len(text) + len(reference))` is that harmonic mean.",
    ),
    trials=lambda: [
        ("the cat sat".split(), "the cat is here".split()),
        ("the the the".split(), "the end".split()),
        ("a b".split(), "c d".split()),
        ("the dog and the cat".split(), "the dog the".split()),
        ("not good".split(), "good not".split()),
    ],
    praise="The last trial gets the full score for words in another order: “not good” and “good, not”.",
    solution=(
        "from collections import Counter\n\n"
        "def rouge_1(text, reference):\n"
        "    shared = sum((Counter(text) & Counter(reference)).values())\n"
        "    return 2 * shared / (len(text) + len(reference))"
    ),
    wrong=(
        WrongAnswer(
            "def rouge_1(text, reference):\n"
            "    shared = sum(word in reference for word in text)\n"
            "    return 2 * shared / (len(text) + len(reference))",
            "A word that the reference has once must not count three times because the text repeats it.",
        ),
        WrongAnswer(
            "from collections import Counter\n\n"
            "def rouge_1(text, reference):\n"
            "    shared = sum((Counter(text) & Counter(reference)).values())\n"
            "    return shared / len(reference)",
            "That is only the recall: a text that contains every word there is would get the full score.",
        ),
        WrongAnswer(
            "def rouge_1(text, reference):\n"
            "    shared = len(set(text) & set(reference))\n"
            "    return 2 * shared / (len(text) + len(reference))",
            "A set forgets how often a word occurs in both.",
        ),
    ),
)

SHIFT = function_exercise(
    id="08-decoder-input",
    title="What the decoder reads",
    minutes=7,
    difficulty=2,
    task=(
        "An encoder-decoder is trained to write `labels`, a list of ids that ends with the end token. The decoder's input is the answer "
        "shifted right by one position, beginning with `start`. Return that input."
    ),
    hints=(
        "When it predicts the first id, what may it have read of the answer?",
        "It reads `start`, then every label except the last.",
        "`[start, *labels[:-1]]`",
    ),
    trials=lambda: [([5, 6, 7, 1], 0), ([9, 1], 3), ([1], 0)],
    praise="The model does this with `labels` itself; shifting them yourself as well teaches it to skip a token.",
    solution="def decoder_input(labels, start):\n    return [start, *labels[:-1]]",
    wrong=(
        WrongAnswer(
            "def decoder_input(labels, start):\n    return [start, *labels]",
            "That is one id longer than the labels: nothing follows the end token.",
        ),
        WrongAnswer(
            "def decoder_input(labels, start):\n    return labels",
            "Then the decoder reads each id when it has to predict it, and learns to copy.",
        ),
        WrongAnswer(
            "def decoder_input(labels, start):\n    return [*labels[1:], start]",
            "That is shifted the wrong way: the decoder would read each id before it has to predict it.",
        ),
    ),
)

EXERCISES = (MAJORITY, ERROR, PRECISION, CALIBRATE, ROUGE, SHIFT)

"""The exercises of notebook 08: the loss, intervals, confusion, calibration, and what ROUGE and BLEU count."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

EXERCISES = (
    function_exercise(
        "08-cross-entropy",
        "The loss from probabilities",
        hints=(
            "Only the probability of the true label counts. What is the cost of having given it probability 1, and what that of 0.5?",
            "The cost of one review is minus the natural logarithm of the probability of its true label; take the mean over reviews.",
            "`-math.log(row[label])` for each row of `probabilities` with its label",
        ),
        imports="import math",
        signature="cross_entropy(probabilities, labels)",
        solution="sum(-math.log(row[label]) for row, label in zip(probabilities, labels, strict=True)) / len(labels)",
        wrong={
            "sum(-math.log(row[label]) for row, label in zip(probabilities, labels))": "That is the sum; the loss is the mean.",
            "sum(math.log(row[label]) for row, label in zip(probabilities, labels)) / len(labels)": (
                "A logarithm of a probability is negative; the loss is its opposite, so that smaller is better."
            ),
            "sum(-math.log2(row[label]) for row, label in zip(probabilities, labels)) / len(labels)": (
                "Those are bits; nats need the natural logarithm."
            ),
            "sum(-math.log(max(row)) for row in probabilities) / len(labels)": (
                "That is the probability of what was predicted. The loss asks for the probability of what is true."
            ),
            "sum(-math.log(row[1]) for row in probabilities) / len(labels)": "Of a negative review the probability of label 0 counts.",
            "-math.log(sum(row[label] for row, label in zip(probabilities, labels)) / len(labels))": (
                "The logarithm is taken for each review and then averaged; the logarithm of the average is smaller."
            ),
            "sum(1 - row[label] for row, label in zip(probabilities, labels)) / len(labels)": (
                "That is the mean error probability. The cross-entropy takes the logarithm, so a confident mistake costs without limit."
            ),
        },
        trials=[
            ([[0.5, 0.5]], [1]),
            ([[0.9, 0.1], [0.2, 0.8]], [0, 1]),
            ([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]], [1, 1, 0]),
            ([[0.01, 0.99]], [0]),
        ],
        praise="`torch.nn.functional.cross_entropy` computes the same from logits, and so does every training of this course.",
    ),
    function_exercise(
        "08-standard-error",
        "How uncertain is an accuracy?",
        hints=(
            "What is $p$ here, and what is $n$?",
            "`p = right / total`; the more reviews, the smaller the error, but only as one over the square root.",
            "`math.sqrt(p * (1 - p) / total)`",
        ),
        imports="import math",
        signature="standard_error(right, total)",
        solution="""
            p = right / total
            return math.sqrt(p * (1 - p) / total)
        """,
        wrong={
            "math.sqrt(right / total * (1 - right / total))": (
                "That is the spread of one answer; the mean of many varies less, by the square root of their number."
            ),
            "right / total * (1 - right / total) / total": "That is the variance; the standard error is its square root.",
        },
        trials=[(80, 100), (425, 500), (5, 5), (20_000, 25_000)],
        praise="With 100 reviews, 80 % may be 72 % or 88 %: two standard errors to each side.",
    ),
    function_exercise(
        "08-confusion",
        "Two kinds of wrong",
        hints=(
            "Both have the same numerator: positive reviews that were predicted positive. Where are they in the table?",
            "Precision divides by a column, recall by a row.",
            "`table[1][1] / (table[0][1] + table[1][1])` is the precision.",
        ),
        signature="precision_and_recall(table)",
        solution="""
            hit = table[1][1]
            return hit / (table[0][1] + hit), hit / (table[1][0] + hit)
        """,
        wrong={
            """
                hit = table[1][1]
                return hit / (table[1][0] + hit), hit / (table[0][1] + hit)
            """: "The two are swapped: labels are rows, so recall divides by a row.",
            """
                share = (table[0][0] + table[1][1]) / sum(map(sum, table))
                return share, share
            """: "That is the accuracy, in which both kinds of mistakes disappear.",
        },
        trials=[([[40, 10], [20, 30]],), ([[90, 0], [5, 5]],), ([[1, 3], [1, 3]],)],
        praise="Which of the two matters depends on what each kind of mistake costs.",
    ),
    function_exercise(
        "08-calibrate",
        "A word is likely anyway",
        hints=(
            "If “great” is ten times likelier than “terrible” without any review, what does that say about a review where it is five "
            "times likelier?",
            "Compare each entry of `odds` with `without`, not with zero.",
            "`[int(value > without) for value in odds]`",
        ),
        signature="labels(odds, without)",
        solution="[int(value > without) for value in odds]",
        wrong={
            "[int(value > 0) for value in odds]": "That takes the likelier word, whatever the model thinks of these words in general.",
            "[int(value + without > 0) for value in odds]": "What the model predicts without a review must be subtracted, not added.",
        },
        trials=[([2.0, 1.0, 3.0], 1.5), ([-1.0, -3.0], -2.0), ([0.5], 0.0), ([1.0, -0.5], -1.2)],
        praise="Calibration costs one question. Whether it helps depends on model and words: measure it.",
    ),
    function_exercise(
        "08-rouge",
        "ROUGE-1 by hand",
        hints=(
            'How often does "the" count, if it occurs three times in one and once in the other?',
            "`collections.Counter(text) & collections.Counter(reference)` keeps the smaller count of each word.",
            "`2 * shared / (len(text) + len(reference))` is that harmonic mean.",
        ),
        imports="from collections import Counter",
        signature="rouge_1(text, reference)",
        solution="""
            shared = sum((Counter(text) & Counter(reference)).values())
            return 2 * shared / (len(text) + len(reference))
        """,
        wrong={
            "2 * sum(word in reference for word in text) / (len(text) + len(reference))": (
                "A word that the reference has once must not count three times because the text repeats it."
            ),
            "sum((Counter(text) & Counter(reference)).values()) / len(reference)": (
                "That is only the recall: a text that contains every word there is would get the full score."
            ),
            "2 * len(set(text) & set(reference)) / (len(text) + len(reference))": "A set forgets how often a word occurs in both.",
        },
        trials=[
            ("the cat sat".split(), "the cat is here".split()),
            ("the the the".split(), "the end".split()),
            ("a b".split(), "c d".split()),
            ("the dog and the cat".split(), "the dog the".split()),
            ("not good".split(), "good not".split()),
        ],
        praise="The last trial gets the full score for words in another order: “not good” and “good, not”.",
    ),
    function_exercise(
        "08-decoder-input",
        "What the decoder reads",
        hints=(
            "When it predicts the first id, what may it have read of the answer?",
            "It reads `start`, then every label except the last.",
            "`[start, *labels[:-1]]`",
        ),
        signature="decoder_input(labels, start)",
        solution="[start, *labels[:-1]]",
        wrong={
            "[start, *labels]": "That is one id longer than the labels: nothing follows the end token.",
            "labels": "Then the decoder reads each id when it has to predict it, and learns to copy.",
            "[*labels[1:], start]": "That is shifted the wrong way: the decoder would read each id before it has to predict it.",
        },
        trials=[([5, 6, 7, 1], 0), ([9, 1], 3), ([1], 0)],
        praise="The model does this with `labels` itself; shifting them yourself as well teaches it to skip a token.",
    ),
)

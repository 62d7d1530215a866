"""The exercises of notebook 05: what "likelier" means, how copied text is found, and when two samples may be compared."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

_RUN = {"seed": 0, "prompt": "The movie was", "decoding": "top_k=50"}

EXERCISES = (
    function_exercise(
        "05-likelier",
        "Which token rose most?",
        hints=(
            "From 0.001 to 0.05 or from 0.40 to 0.50: in which case did the model change its mind more?",
            "The change in log-probability is log(after / before): a ratio, not a difference.",
            "`max(before, key=lambda token: after[token] / before[token])`",
        ),
        signature="most_likelier(before, after)",
        solution="max(before, key=lambda token: after[token] / before[token])",
        wrong={
            "max(before, key=lambda token: after[token] - before[token])": (
                "That is the largest difference of probabilities: it favours tokens that were frequent all along."
            ),
            "max(after, key=after.get)": "That is the likeliest token after fine-tuning, whether or not it changed.",
            "min(before, key=lambda token: after[token] / before[token])": (
                "That is the token that fell most: check the direction of the ratio."
            ),
        },
        trials=[
            ({" the": 0.40, " film": 0.001, " a": 0.2}, {" the": 0.50, " film": 0.05, " a": 0.1}),
            ({"!": 0.02, ".": 0.3, ",": 0.25}, {"!": 0.01, ".": 0.36, ",": 0.28}),
            ({" a": 0.5, " good": 0.1, " awful": 0.01}, {" a": 0.4, " good": 0.25, " awful": 0.05}),
        ],
        praise="Ratios show what the model learned about rare words; differences would only show what was frequent already.",
    ),
    function_exercise(
        "05-copied",
        "How long is the copied run?",
        hints=(
            "Try every pair of starting positions, and count how far the two lists agree from there.",
            "Two loops over the starting positions, and a while loop that continues while both lists have words left and these are equal.",
            "Keep the largest count of all pairs; return 0 when there is none.",
        ),
        signature="longest_shared(mine, theirs)",
        solution="""
            best = 0
            for i in range(len(mine)):
                for j in range(len(theirs)):
                    n = 0
                    while i + n < len(mine) and j + n < len(theirs) and mine[i + n] == theirs[j + n]:
                        n += 1
                    best = max(best, n)
            return best
        """,
        wrong={
            "len(set(mine) & set(theirs))": (
                "That counts words which both lists know, in any order: nearly every text shares most of its words with some other."
            ),
            """
                table = [[0] * (len(theirs) + 1) for _ in range(len(mine) + 1)]
                for i, a in enumerate(mine):
                    for j, b in enumerate(theirs):
                        table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
                return table[-1][-1]
            """: "That is the longest common subsequence: it allows gaps, and a copied run has none.",
            """
                n = 0
                while n < min(len(mine), len(theirs)) and mine[n] == theirs[n]:
                    n += 1
                return n
            """: "That compares the beginnings only: a copied run may start anywhere in either text.",
        },
        trials=[
            ("the plot was thin but the cast was fun".split(), "i thought the cast was fun and the plot thin".split()),
            ("a b c d".split(), "d c b a".split()),
            ("a b x c d".split(), "a b y c d".split()),
            ([], "a film".split()),
        ],
        praise="That is what the check for copied text does, with an index in place of the outer loops.",
    ),
    function_exercise(
        "05-fair",
        "A fair comparison",
        hints=(
            "What has to be the same, so that only one thing is left that can explain a difference?",
            "Same prompt, same decoding, same seed; and the model must not be the same, or there is nothing to compare.",
            "Compare the three with ==, and `model` with !=.",
        ),
        signature="comparable(one, other)",
        solution="""
            same = all(one[key] == other[key] for key in ('seed', 'prompt', 'decoding'))
            return same and one['model'] != other['model']
        """,
        wrong={
            "one['prompt'] == other['prompt'] and one['model'] != other['model']": (
                "The same prompt is not enough: with another seed or another decoding, the same model writes another text too."
            ),
            "all(one[key] == other[key] for key in ('seed', 'prompt', 'decoding'))": (
                "Two runs of one model pass this test, but they say nothing about fine-tuning."
            ),
        },
        trials=[
            ({**_RUN, "model": "base"}, {**_RUN, "model": "tuned"}),
            ({**_RUN, "model": "base"}, {**_RUN, "model": "tuned", "seed": 1}),
            ({**_RUN, "model": "base"}, {**_RUN, "model": "tuned", "decoding": "greedy"}),
            ({**_RUN, "model": "base"}, {**_RUN, "model": "tuned", "prompt": "A film"}),
            ({**_RUN, "model": "base"}, {**_RUN, "model": "base"}),
        ],
        praise="One difference at a time: what is left can then only come from the weights.",
    ),
)

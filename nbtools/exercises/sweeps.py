"""The exercises of notebook 09: how many runs a sweep makes, which run to choose, and when two results differ."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

_RUNS = [
    {"name": "a", "state": "done", "validation": 1.70, "test": 1.74},
    {"name": "b", "state": "failed", "validation": 1.10, "test": 1.10},
    {"name": "c", "state": "done", "validation": 1.72, "test": 1.69},
    {"name": "d", "state": "done", "validation": 1.95, "test": 1.99},
]

EXERCISES = (
    function_exercise(
        "09-count",
        "How many runs?",
        hints=(
            "Every value of the first parameter is combined with every value of the second. How many pairs is that?",
            "Multiply the lengths of all lists; each combination is then run once with every seed.",
            "`math.prod(len(values) for values in grid.values()) * seeds`",
        ),
        imports="import math",
        signature="count_runs(grid, seeds)",
        solution="math.prod(len(values) for values in grid.values()) * seeds",
        wrong={
            "sum(len(values) for values in grid.values()) * seeds": (
                "That adds the lists' lengths, which changes one parameter at a time; a grid tries all combinations."
            ),
            "math.prod(len(values) for values in grid.values())": "That leaves the seeds out: each combination is run once for every seed.",
        },
        trials=[
            ({"learning_rate": [1e-4, 1e-3, 1e-2], "max_reviews": [400, 1200]}, 3),
            ({"learning_rate": [1e-4, 1e-3]}, 5),
            ({"a": [1, 2], "b": [1, 2], "c": [1, 2], "d": [1, 2, 3]}, 1),
        ],
        praise="A grid grows by multiplication: one more parameter with three values takes three times as long.",
    ),
    function_exercise(
        "09-choose",
        "Which run, and which figure?",
        hints=(
            "Which of the two parts may be looked at as often as you like, and which is for one number at the end?",
            "Choose by validation, among runs that are done; then report that same run's test figure.",
            "`best = min((run for run in runs if run['state'] == 'done'), key=lambda run: run['validation'])`",
        ),
        signature="choose(runs)",
        solution="""
            best = min((run for run in runs if run['state'] == 'done'), key=lambda run: run['validation'])
            return best['name'], best['test']
        """,
        wrong={
            """
                best = min((run for run in runs if run['state'] == 'done'), key=lambda run: run['test'])
                return best['name'], best['test']
            """: "That chooses by the test part. The figure is then the luckiest of many, and too optimistic for new reviews.",
            """
                best = min((run for run in runs if run['state'] == 'done'), key=lambda run: run['validation'])
                return best['name'], best['validation']
            """: "The choice is right, but the figure used to choose is too optimistic: report the test figure.",
            """
                best = min(runs, key=lambda run: run['validation'])
                return best['name'], best['test']
            """: "A run that failed is not a result, whatever figure it left.",
        },
        trials=[(_RUNS,), ([*_RUNS, {"name": "e", "state": "done", "validation": 1.5, "test": 1.8}],), (_RUNS[2:],)],
        praise="The best validation figure of many is partly luck; the test figure of the run that it chose is not.",
    ),
    function_exercise(
        "09-apart",
        "Is one better?",
        hints=(
            "Two lists may overlap, and yet one may be lower for every single seed.",
            "Compare pair by pair: the first with the first, the second with the second.",
            "`all(a < b for a, b in zip(one, other, strict=True))`",
        ),
        signature="always_lower(one, other)",
        solution="all(a < b for a, b in zip(one, other, strict=True))",
        wrong={
            "sum(one) / len(one) < sum(other) / len(other)": "A lower mean can come from one lucky seed; look at each pair.",
            "max(one) < min(other)": (
                "That requires lists that do not overlap at all. Seeds that are hard for both make them overlap; compare per seed."
            ),
        },
        trials=[
            ([1.70, 1.74, 1.72], [1.71, 1.76, 1.73]),
            ([1.70, 1.78, 1.60], [1.71, 1.76, 1.73]),
            ([1.5], [1.5]),
            ([1.1, 1.2], [1.3, 1.4]),
        ],
        praise="Pairing by seed removes what both share: the order of the reviews and the random numbers.",
    ),
)

"""The exercises of notebook 09: reading a curve, which run to choose, and when two results differ."""

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
        "09-curve",
        "What does the curve say?",
        hints=(
            "Which two numbers does each of the three questions compare? Negative indices count from the end.",
            "Divergence is about `training[-1]` and `training[0]`; the other two are about `validation[-1]`.",
            "Overfitting: `validation[-1] > min(validation) + 0.05`; too short: `validation[-1] < validation[-2] - 0.05`",
        ),
        signature="read_curve(training, validation)",
        solution="""
            if training[-1] > training[0]:
                return 'diverged'
            if validation[-1] > min(validation) + 0.05:
                return 'overfitting'
            if validation[-1] < validation[-2] - 0.05:
                return 'too short'
            return 'settled'
        """,
        wrong={
            """
                if training[-1] > training[0]:
                    return 'diverged'
                if validation[-1] > validation[0]:
                    return 'overfitting'
                if validation[-1] < validation[-2] - 0.05:
                    return 'too short'
                return 'settled'
            """: (
                "Overfitting begins at the lowest point, not at the first: a run can end better than it began and still be past its best."
            ),
            """
                if training[-1] > training[0]:
                    return 'diverged'
                if validation[-1] > training[-1] + 0.05:
                    return 'overfitting'
                if validation[-1] < validation[-2] - 0.05:
                    return 'too short'
                return 'settled'
            """: (
                "Validation is above training in almost every run, because the model was fitted to the latter. What matters is whether "
                "validation rises."
            ),
            """
                if training[-1] > training[0]:
                    return 'diverged'
                if validation[-1] > min(validation) + 0.05:
                    return 'overfitting'
                if training[-1] < training[-2] - 0.05:
                    return 'too short'
                return 'settled'
            """: "A training loss can fall for ever. Ask the held-out loss whether more steps would help.",
            """
                if training[-1] > training[0]:
                    return 'diverged'
                if validation[-1] > min(validation):
                    return 'overfitting'
                if validation[-1] < validation[-2]:
                    return 'too short'
                return 'settled'
            """: "Every curve trembles a little; changes below 0.05 are not to count.",
            """
                if validation[-1] > min(validation) + 0.05:
                    return 'overfitting'
                if training[-1] > training[0]:
                    return 'diverged'
                if validation[-1] < validation[-2] - 0.05:
                    return 'too short'
                return 'settled'
            """: "When the training loss itself has risen, that is no overfitting: ask this first.",
        },
        trials=[
            ([5.5, 5.0, 4.8, 4.78], [5.4, 5.0, 4.9, 4.88]),
            ([5.5, 4.0, 2.0, 0.9], [5.4, 4.9, 5.1, 5.3]),
            ([5.5, 5.0, 4.6, 4.2], [5.4, 5.0, 4.7, 4.4]),
            ([5.5, 5.2, 7.0, 9.1], [5.4, 5.3, 7.2, 9.0]),
            ([5.5, 4.6, 4.0, 3.5], [5.4, 4.9, 4.85, 4.88]),
            ([5.5, 4.6, 4.3], [5.4, 4.9, 4.87]),
        ],
        praise="Four words for most of the curves that you will meet; the limits depend on how noisy yours are.",
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

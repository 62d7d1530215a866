"""The exercises of 00_setup: what `None` stands for, how a secret is reported, what training needs in memory."""

from __future__ import annotations

from typing import Any

from nbtools.exercises.framework import UNSOLVED, Exercise, Verdict, WrongAnswer, failed, is_stub, solved
from nbtools.exercises.trials import function_exercise

NONE_SOLUTION = """
def chosen(given, profile_value):
    return profile_value if given is None else given
"""

SECRET_SOLUTION = """
def report_secret(secret):
    return "set" if secret and secret.strip() else "not set"
"""

MEMORY_SOLUTION = """
def training_gigabytes(parameters):
    copies = 1 + 1 + 2                      # weights, gradients, AdamW's two averages
    return parameters * 4 * copies / 1e9    # 4 bytes per number
"""

# Invented for the check; none of them is a real token.
_EXAMPLES = ("hf_AbCdEfGhIj0123456789", "zq7!kM2#xW9$", "hf_AbCdEfGhIj9876543210wxyz")


def _check_secret(answer: Any) -> Verdict:
    if not callable(answer):
        return failed("The check takes the function itself.", "Leave out the parentheses after its name.")
    reports = [answer(secret) for secret in _EXAMPLES]
    absent = [answer(nothing) for nothing in (None, "", "  \n")]
    if all(map(is_stub, [*reports, *absent])):
        return UNSOLVED
    for secret, report in zip(_EXAMPLES, reports, strict=True):
        for start in range(len(secret) - 2):
            if secret[start : start + 3] in str(report):
                return failed(
                    'Every secret should be reported with the same words, "set".',
                    "The report shows characters of the secret: outputs are stored and shared, and each character makes a guess easier.",
                )
    if len({len(str(report)) for report in reports}) > 1:
        return failed(
            'Every secret should be reported with the same words, "set".',
            "The report's length follows the secret's length, and so reveals it.",
        )
    if len(set(map(str, reports))) > 1:
        return failed(
            'Every secret should be reported with the same words, "set".',
            "The report differs from secret to secret: a fingerprint lets anyone test a guess, or see that two people share a secret.",
        )
    if any(report != "set" for report in reports):
        return failed(f'A secret that exists should give "set", and gave {reports[0]!r}.')
    if any(report != "not set" for report in absent):
        return failed(
            'None, an empty text and white space alone should all give "not set".',
            "A variable can exist and hold nothing: an empty variable is not a secret.",
        )
    return solved("Three different secrets, the same report each time: the reader learns that one is set, and nothing else.")


EXERCISES = (
    function_exercise(
        id="00-none",
        title="What None stands for",
        minutes=3,
        difficulty=1,
        task="In every notebook a parameter that is `None` means *the profile's own value*. Write `chosen(given, profile_value)`, "
        "which returns the value that counts.",
        hints=(
            "Only `None` asks for the profile's value. Which other values does Python count as false?",
            "A seed of 0 and a learning rate of 0.0 are values that somebody chose.",
            "`given is None` is the question to ask.",
        ),
        trials=lambda: [(None, 300), (20, 300), (0, 42), (0.0, 2e-5), ("", "gpt2"), (False, True)],
        praise="None is replaced by the profile's value; 0, 0.0, False and an empty text are choices and stay.",
        solution=NONE_SOLUTION,
        wrong=(
            WrongAnswer(
                "def chosen(given, profile_value):\n    return given or profile_value",
                "`or` replaces every false value, so a seed of 0 would silently become the profile's.",
            ),
            WrongAnswer(
                "def chosen(given, profile_value):\n    return profile_value",
                "`given` is never used: the profile's value should be returned only when `given` is None.",
            ),
            WrongAnswer(
                "def chosen(given, profile_value):\n    return given if given is None else profile_value",
                "The two branches are the wrong way round.",
            ),
        ),
    ),
    Exercise(
        id="00-secret",
        title="Report that a secret exists, and nothing more",
        minutes=5,
        difficulty=1,
        task='Write `report_secret(secret)`, which returns `"set"` or `"not set"` and reveals nothing else about the secret. '
        "It may be `None`, an empty text or white space.",
        hints=(
            "Two different secrets must give exactly the same report.",
            "Not its first characters, not as many stars as it has characters, not a hash: only the words.",
            "An environment variable can exist and be empty: look at `secret.strip()`, but only where `secret` is not None.",
        ),
        check=_check_secret,
        solution=SECRET_SOLUTION,
        wrong=(
            WrongAnswer(
                'def report_secret(secret):\n    return f"set: {secret[:5]}..." if secret and secret.strip() else "not set"',
                "The report shows characters of the secret",
            ),
            WrongAnswer(
                'def report_secret(secret):\n    return "*" * len(secret) if secret and secret.strip() else "not set"',
                "The report's length follows the secret's length",
            ),
            WrongAnswer(
                "def report_secret(secret):\n    import hashlib\n"
                '    return hashlib.sha256(secret.encode()).hexdigest()[:8] if secret and secret.strip() else "not set"',
                "a fingerprint lets anyone test a guess",
            ),
            WrongAnswer(
                'def report_secret(secret):\n    return "not set" if secret is None else "set"',
                "A variable can exist and hold nothing",
            ),
        ),
    ),
    function_exercise(
        id="00-memory",
        title="What full fine-tuning keeps in memory",
        minutes=5,
        difficulty=2,
        task="Fine-tuning with AdamW in fp32 keeps, for every parameter, the weight, its gradient and two running averages, 4 bytes each. "
        "Write `training_gigabytes(parameters)`: the GB (10⁹ bytes) that these take, before any activation.",
        hints=(
            "Count the numbers kept for one parameter.",
            "One weight, one gradient, two averages: four numbers of 4 bytes.",
            "`parameters * 16 / 1e9`",
        ),
        trials=lambda: [(124_439_808,), (6_967_296,), (774_030_080,), (1,)],
        tolerance=1e-10,
        praise="16 bytes per parameter: GPT-2 small needs 2 GB before it has read a single word. Activations come on top.",
        solution=MEMORY_SOLUTION,
        wrong=(
            WrongAnswer(
                "def training_gigabytes(parameters):\n    return parameters * 4 / 1e9",
                "That is the weights alone, enough to generate text; training also keeps gradients and AdamW's averages.",
            ),
            WrongAnswer(
                "def training_gigabytes(parameters):\n    return parameters * 8 / 1e9",
                "Weights and gradients are counted; AdamW's two averages for each parameter are missing.",
            ),
            WrongAnswer(
                "def training_gigabytes(parameters):\n    return parameters * 12 / 1e9",
                "One number per parameter is missing: AdamW keeps two averages, of the gradient and of its square.",
            ),
            WrongAnswer(
                "def training_gigabytes(parameters):\n    return parameters * 16 / 2**30",
                "That counts in GiB (2³⁰ bytes); a GB is 10⁹ bytes, 7 percent less.",
            ),
        ),
    ),
)

"""The exercises of 00_setup: what `None` stands for, how a secret is reported, what training needs in memory."""

from __future__ import annotations

from typing import Any

from nbtools.exercises.definition import UNSOLVED, Exercise, Verdict, failed, function_exercise, function_source, is_stub

REPORT = "report_secret(secret)"
SAME_WORDS = 'Every secret should be reported with the same words, "set".'

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
                    SAME_WORDS,
                    "The report shows characters of the secret: outputs are stored and shared, and each character makes a guess easier.",
                )
    if len({len(str(report)) for report in reports}) > 1:
        return failed(SAME_WORDS, "The report's length follows the secret's length, and so reveals it.")
    if len(set(map(str, reports))) > 1:
        return failed(
            SAME_WORDS,
            "The report differs from secret to secret: a fingerprint lets anyone test a guess, or see that two people share a secret.",
        )
    if any(report != "set" for report in reports):
        return failed(f'A secret that exists should give "set", and gave {reports[0]!r}.')
    if any(report != "not set" for report in absent):
        return failed(
            'None, an empty text and white space alone should all give "not set".',
            "A variable can exist and hold nothing: an empty variable is not a secret.",
        )
    return Verdict(True, "Three different secrets, the same report each time: the reader learns that one is set, and nothing else.")


EXERCISES = (
    function_exercise(
        "00-none",
        "What None stands for",
        hints=(
            "Only `None` asks for the profile's value. Which other values does Python count as false?",
            "A seed of 0 and a learning rate of 0.0 are values that somebody chose.",
            "`given is None` is the question to ask.",
        ),
        signature="chosen(given, profile_value)",
        solution="profile_value if given is None else given",
        wrong={
            "given or profile_value": "`or` replaces every false value, so a seed of 0 would silently become the profile's.",
            "profile_value": "`given` is never used: the profile's value should be returned only when `given` is None.",
            "given if given is None else profile_value": "The two branches are the wrong way round.",
        },
        trials=[(None, 300), (20, 300), (0, 42), (0.0, 2e-5), ("", "gpt2"), (False, True)],
        praise="None is replaced by the profile's value; 0, 0.0, False and an empty text are choices and stay.",
    ),
    Exercise(
        "00-secret",
        "Report that a secret exists, and nothing more",
        hints=(
            "Two different secrets must give exactly the same report.",
            "Not its first characters, not as many stars as it has characters, not a hash: only the words.",
            "An environment variable can exist and be empty: look at `secret.strip()`, but only where `secret` is not None.",
        ),
        check=_check_secret,
        solution=function_source(REPORT, '"set" if secret and secret.strip() else "not set"'),
        wrong={
            function_source(REPORT, body): misconception
            for body, misconception in {
                'f"set: {secret[:5]}..." if secret and secret.strip() else "not set"': "The report shows characters of the secret",
                '"*" * len(secret) if secret and secret.strip() else "not set"': "The report's length follows the secret's length",
                """
                    import hashlib
                    return hashlib.sha256(secret.encode()).hexdigest()[:8] if secret and secret.strip() else "not set"
                """: "a fingerprint lets anyone test a guess",
                '"not set" if secret is None else "set"': "A variable can exist and hold nothing",
            }.items()
        },
    ),
    function_exercise(
        "00-memory",
        "What full fine-tuning keeps in memory",
        hints=(
            "Count the numbers kept for one parameter.",
            "One weight, one gradient, two averages: four numbers of 4 bytes.",
            "`parameters * 16 / 1e9`",
        ),
        signature="training_gigabytes(parameters)",
        solution="""
            copies = 1 + 1 + 2                      # weights, gradients, AdamW's two averages
            return parameters * 4 * copies / 1e9    # 4 bytes per number
        """,
        wrong={
            "parameters * 4 / 1e9": (
                "That is the weights alone, enough to generate text; training also keeps gradients and AdamW's averages."
            ),
            "parameters * 8 / 1e9": "Weights and gradients are counted; AdamW's two averages for each parameter are missing.",
            "parameters * 12 / 1e9": "One number per parameter is missing: AdamW keeps two averages, of the gradient and of its square.",
            "parameters * 16 / 2**30": "That counts in GiB (2³⁰ bytes); a GB is 10⁹ bytes, 7 percent less.",
        },
        trials=[(124_439_808,), (6_967_296,), (774_030_080,), (1,)],
        tolerance=1e-10,
        praise="16 bytes per parameter: GPT-2 small needs 2 GB before it has read a single word. Activations come on top.",
    ),
)

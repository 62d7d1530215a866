"""Every public function and command refuses bad values in two lines, or does what its page says; none ends in a traceback."""

from pathlib import Path

import pytest

from nbtools.errors import InputError
from nbtools.runtime.arguments import checked
from tests.bad_values import COMMANDS, PAGE, UNTRIED, failures, good_arguments, public_names, section, sections

# What still fails, each with the fault in words. An entry whose fault is mended makes this test fail until it is taken out.
DECODING = "values of decoding reach the libraries unchecked"
TRAINING = "values of fine-tuning reach the libraries unchecked"
PLACE = "a destination that cannot be written is met too late"
TEXTS = "what is no list of texts is taken for one"
TYPES = "a value of a wrong type is met where it is first used"
KNOWN_GAPS: dict[str, dict[str, str]] = {
    "nbtools.PromptLab": dict.fromkeys(("temperature", "min_p", "repetition_penalty", "max_new_tokens", "seed"), DECODING),
    "nbtools.generate": dict.fromkeys(("max_new_tokens", "max_length", "seed", "num_samples", "dtype", "temprature"), DECODING),
    "nbtools.stream": dict.fromkeys(("max_new_tokens", "max_length", "seed", "dtype", "top_K"), DECODING),
    "nbtools.compare.sample_pairs": dict.fromkeys(("prompts", "max_new_tokens", "seed", "max_tokens"), DECODING),
    "nbtools.generation.next_tokens": {"topp": DECODING},
    "nbtools.estimate": {"output_dir": PLACE}
    | dict.fromkeys(("learning_rate", "batch_size", "epochs", "max_steps", "seed", "dropout", "dtype"), TRAINING),
    "nbtools.finetune": {"output_dir": PLACE}
    | dict.fromkeys(("learning_rate", "batch_size", "epochs", "max_steps", "seed", "dropout", "dtype", "report_to"), TRAINING),
    "nbtools.runtime.seed_everything": {"seed": TRAINING},
    "nbtools.save_model": {"folder": PLACE},
    "nbtools.data.examples.write_bad_files": {"folder": PLACE},
    "nbtools.data.examples.write_example": {"folder": PLACE},
    "nbtools.evaluate": {"texts": TEXTS},
    "nbtools.data.examine_texts": {"texts": TEXTS},
    "nbtools.data.tokenize": {"texts": TEXTS},
    "nbtools.evaluation.copied_spans": {"corpus": TEXTS},
    "nbtools.pack": {"block_size": TYPES},
    "nbtools.data.load_texts": {"encoding": TYPES, "seed": TYPES},
    "nbtools.load_model": {"name": TYPES},
    "nbtools.profiles.get_profile": {"name": TYPES},
    "nbtools.compare.likelier": {"count": TYPES, "floor": TYPES},
    "nbtools.ParameterForm": {"notebook": TYPES},
    "nbtools.pitfalls.Pitfalls": {"batchsize": "a misspelt setting ends in Python's own error"},
}
NAMES = [*COMMANDS, *good_arguments()]
SLOW = {
    "nbtools.stream": 11,
    "nbtools.finetune": 6,
    "nbtools.notebooks.box": 6,
    "nbtools.generate": 20,
    "nbtools.load_model": 20,
    "nbtools.estimate": 14,
    "nbtools.PromptLab": 8,
}


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow(SLOW[one])) if one in SLOW else one for one in NAMES])
def test_bad_values_are_accepted_or_refused_as_the_page_says(name: str, tmp_path: Path) -> None:
    made = section(name, tmp_path)
    assert sorted(failures(made)) == sorted(KNOWN_GAPS.get(name, {}))
    assert sections(PAGE.read_text(encoding="utf8"))[name] == made, "python -m tests.bad_values --write"


def test_every_public_name_and_every_command_is_walked() -> None:
    from typer.main import get_command

    from nbtools.cli import app

    shown = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert shown == set(COMMANDS) and sorted(sections(PAGE.read_text(encoding="utf8"))) == sorted(NAMES)
    drawn = {name for name in public_names() if name.startswith("nbtools.plots.")}  # they draw what the others returned
    assert set(public_names()) - set(NAMES) - set(UNTRIED) - drawn == set()


def test_an_argument_is_checked_against_its_annotation() -> None:
    import numpy as np

    @checked(count=(1, 9))
    def made(name: str, count: int = 1, rate: "float | None" = None, texts: "list[str]" = [], folder: "str | Path" = "x") -> int:  # noqa: B006
        return count

    assert made("a", np.int64(3), np.float32(0.5), ("b",), Path("y")) == 3 and made("a", rate=None) == 1
    for bad in (
        {"count": 0}, {"count": 10}, {"count": True}, {"count": 1.0}, {"count": None}, {"rate": float("nan")}, {"rate": "1"},
        {"rate": 10**400}, {"texts": "abc"}, {"texts": [None]}, {"folder": ""}, {"folder": "a\0b"}, {"name": None},
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            made(**{"name": "a"} | bad)
        assert "\n" not in error.value.problem and next(iter(bad)) in error.value.problem

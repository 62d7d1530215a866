"""Public functions and commands refuse invalid values with a two-line error, or behave as docs/bad_values.md says."""

from pathlib import Path

import pytest

from nbtools.errors import InputError
from nbtools.values import checked
from tests.bad_values import COMMANDS, PAGE, UNTRIED, failures, good_arguments, public_names, section, sections

# Known failures, with a description. The test also fails for an entry whose bug has been fixed, until it is removed.
KNOWN_GAPS: dict[str, dict[str, str]] = {}
NAMES = [*COMMANDS, *good_arguments()]
SLOW = {
    "nbtools.stream": 11,
    "nbtools.finetune": 6,
    "nbtools.notebooks.box": 6,
    "nbtools.generate": 20,
    "nbtools.load_model": 20,
    "nbtools.estimate": 14,
    "nbtools.generation.decoder_name": 8,
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

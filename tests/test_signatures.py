"""Every call of transformers, datasets and papermill in the package fits the oldest versions allowed, the newest, and those installed."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from environments.signatures import LIBRARIES, Call, calls, complaint, declaration, needed, package_trees, signature

STORED = Path(__file__).parents[1] / "environments" / "signatures"
TREES = package_trees()
CALLS = calls(TREES)


def declared(where: str) -> dict[str, str | None]:
    if where == "installed":
        return {target: declaration(target) for target in needed(TREES)}
    content = json.loads((STORED / f"{where}.json").read_text(encoding="utf8"))
    assert content["schema"] == 1 and content["versions"].keys() == set(LIBRARIES)
    return content["declared"]


def test_the_calls_that_matter_most_are_found() -> None:
    found = {call.target: call for call in CALLS}
    assert len(CALLS) > 30
    for target in (
        "transformers.AutoModelForCausalLM.from_pretrained",
        "datasets.load_dataset",
        "papermill.parameterize.parameterize_notebook",
    ):
        assert target in found
    assert "kernel_name" in found["papermill.parameterize.parameterize_notebook"].keywords
    # through the package's own Trainer, whose __init__ hands its arguments on
    assert "transformers.Trainer" in found


@pytest.mark.slow(6)
@pytest.mark.parametrize("where", ["oldest", "newest", "installed"])
def test_every_call_fits_the_functions_as_declared(where: str) -> None:
    here = declared(where)
    unknown = needed(TREES) - here.keys()
    assert not unknown, f"{sorted(unknown)} not recorded; run: python -m environments.{where} signatures"
    assert [target for target in needed(TREES) if here[target] is None] == []
    assert [said for call in CALLS if (said := complaint(call, here[call.target]))] == []


@pytest.mark.parametrize("where", ["oldest", "newest"])
def test_the_stored_signatures_match_the_record(where: str) -> None:
    """The two files come from one run: versions of the environment and of the signatures are the same."""
    record = json.loads((STORED.parent / "results" / f"{where}.json").read_text(encoding="utf8"))
    versions = json.loads((STORED / f"{where}.json").read_text(encoding="utf8"))["versions"]
    assert {name: record["versions"][name] for name in LIBRARIES} == versions


WRONG = """
import datasets
from transformers import AutoTokenizer, Trainer, set_seed as seed
from transformers.utils import logging as theirs

class Ours(Trainer):
    def __init__(self, **rest):
        super().__init__(tokenizer=1, **rest)

def late():
    from papermill.engines import papermill_engines
    papermill_engines.register("name", engines=1)

seed(1, deterministc=True)
datasets.load_dataset("a", splits="train")
datasets.Dataset.from_lists([])
AutoTokenizer.from_pretrained()
theirs.set_verbosity_error(2)
seed(2, deterministic=True)
print("not theirs", tokenizer=1)
"""


@pytest.mark.parametrize("where", ["oldest", "newest", "installed"])
def test_a_wrong_call_is_named_with_its_reason(where: str) -> None:
    """A keyword of an older version, misspelt ones, a function that does not exist, an argument too few and one too many."""
    trees = {"wrong.py": ast.parse(WRONG)}
    here = declared(where)
    said = [problem for call in calls(trees) if (problem := complaint(call, here.get(call.target, declaration(call.target))))]
    wanted = {
        "transformers.Trainer": "'tokenizer'",
        "papermill.engines.papermill_engines.register": "'engine'",
        "transformers.set_seed": "'deterministc'",
        "datasets.Dataset.from_lists": "does not exist",
        "transformers.AutoTokenizer.from_pretrained": "missing a required argument",
        "transformers.utils.logging.set_verbosity_error": "too many positional arguments",
    }
    # load_dataset takes further keywords for the builder, so a misspelt one passes: that is what `**` means.
    assert len(said) == len(wanted) and all(any(target in one and why in one for one in said) for target, why in wanted.items()), said


@pytest.mark.parametrize(
    ("form", "fits"),
    [("(a, /, b, *, c=...)", True), ("(a, b, *, c=...)", True), ("(a, b)", False), ("(a, *rest, **more)", True), ("(a, b, c, d)", False)],
)
def test_a_stored_declaration_binds_as_python_does(form: str, fits: bool) -> None:
    call = Call("library.f", "file.py:1", positional=2, keywords=("c",), open=False)
    assert str(signature(form)).replace("Ellipsis", "...") == form
    assert (complaint(call, form) is None) is fits


def test_arguments_that_come_from_elsewhere_are_not_missed() -> None:
    call = Call("library.f", "file.py:1", positional=0, keywords=("c",), open=True)
    assert complaint(call, "(a, *, c)") is None and complaint(call, "(a)") is not None

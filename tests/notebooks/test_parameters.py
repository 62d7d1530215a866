from pathlib import Path

import papermill
import pytest

from nbtools.errors import InputError
from nbtools.notebooks import read_notebook, read_parameters
from nbtools.notebooks.parameters import check_parameters, check_secret
from tests.runs.small_notebooks import write_notebook

CELL = """\
profile: str = "mini"  # the model
model: str = None  # a folder = another model
max_steps: int = None  # None: the profile's own
learning_rate: float = None
seed: int = 0
lora: bool = False
sizes: list[int] = [1, 2]
prompts: list = ["a"]
prompt: str = "x = y"
top_p: float = 0.95
whatever = None
limit: int | None = 3
"""
COURSE = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture
def notebook(tmp_path):
    return read_notebook(write_notebook(tmp_path, "n", "1", parameters=CELL))


def given(notebook, **values):
    return check_parameters([notebook], values)[notebook.name]


def test_names_types_defaults_and_help_are_read(notebook):
    parameters = read_parameters(notebook)
    assert list(parameters) == [line.split(":")[0].split(" =")[0] for line in CELL.splitlines()]
    assert (parameters["prompt"].default, parameters["prompt"].kind, parameters["prompt"].optional) == ("x = y", "str", False)
    assert (parameters["model"].help, parameters["model"].optional) == ("a folder = another model", True)
    assert (parameters["sizes"].kind, parameters["sizes"].inner) == ("list", "int")
    assert parameters["limit"].optional and parameters["limit"].kind == "int"


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_papermill_sees_the_same_parameters_in_the_course(path):
    ours, theirs = read_parameters(read_notebook(path)), papermill.inspect_notebook(str(path))
    assert list(ours) == list(theirs)
    assert {name: parameter.help for name, parameter in ours.items()} == {name: entry["help"] for name, entry in theirs.items()}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_steps", "3", 3), ("max_steps", "None", None), ("learning_rate", "1e-4", 1e-4), ("learning_rate", "1", 1.0),
        ("learning_rate", 1, 1.0), ("lora", "true", True), ("lora", "False", False),
        ("sizes", "[3, 4]", [3, 4]), ("sizes", "3,4", [3, 4]),
        ("prompts", "a, b", ["a", "b"]), ("prompt", "None", "None"), ("model", "None", None), ("prompt", "3", "3"),
        ("prompt", "", ""), ("whatever", "[1]", [1]),
    ],
)  # fmt: skip
def test_text_becomes_the_declared_type(notebook, name, text, value):
    result = given(notebook, **{name: text})[name]
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_steps", "many", "must be a whole number"), ("max_steps", "3.5", "must be a whole number"),
        ("max_steps", True, "must be a whole"),
        ("max_steps", "True", "must be a whole number"), ("learning_rate", "True", "must be a number"),
        ("learning_rate", True, "must be a number"),
        ("learning_rate", "nan", "must be a number"), ("lora", "1", "must be True or False"), ("lora", 1, "must be True or False"),
        ("sizes", "[1, 'a']", "must be a list"), ("sizes", "[1", "must be a list"), ("seed", "None", "must be a whole number"),
        ("seed", None, "cannot be None"), ("prompt", 3, "must be text"),
        ("max_steps", "0", "from 1 up"), ("learning_rate", "0", "above 0"), ("learning_rate", "-1e-4", "above 0"),
        ("top_p", "1.5", "up to"), ("seed", "-1", "from 0 up"), ("seed", str(2**32), "up to"),
        ("profile", "minni", "no profile called 'minni'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(notebook, name, value, words):
    with pytest.raises(InputError, match=words):
        given(notebook, **{name: value})


def test_an_unknown_name_is_refused_with_the_nearest(notebook):
    with pytest.raises(InputError) as caught:
        given(notebook, max_step="3")
    assert "'max_step'" in caught.value.problem and "Did you mean 'max_steps'?" in caught.value.remedy


def test_a_parameter_goes_only_to_the_notebooks_that_have_it(tmp_path, notebook):
    other = read_notebook(write_notebook(tmp_path, "other", "1", parameters="seed: int = 0"))
    assert check_parameters([notebook, other], {"seed": "1", "max_steps": "2"}, "mini") == {
        "n": {"seed": 1, "max_steps": 2, "profile": "mini"},
        "other": {"seed": 1},
    }


def test_a_profile_that_no_notebook_takes_and_two_profiles_are_refused(tmp_path, notebook):
    other = read_notebook(write_notebook(tmp_path, "other", "1", parameters="seed: int = 0"))
    with pytest.raises(InputError, match="'profile'"):
        check_parameters([other], {}, "mini")
    with pytest.raises(InputError, match="Two profiles"):
        check_parameters([notebook], {"profile": "gpt2"}, "mini")


@pytest.mark.parametrize("name", ["token", "hf_token", "HF_TOKEN", "apiKey", "api_key", "my_secret", "password", "hub_key"])
def test_secret_looking_names_are_refused_without_repeating_the_value(name):
    with pytest.raises(InputError) as caught:
        check_secret(name, "abc-value-xyz")
    assert "abc-value-xyz" not in str(caught.value)


def test_a_secret_looking_value_is_refused_and_course_names_are_not():
    with pytest.raises(InputError) as caught:
        check_secret("prompt", "hf_" + "a" * 34)
    assert "aaaa" not in str(caught.value)
    for name in ("max_new_tokens", "top_k", "tokens_seen", "keyboard", "seed"):
        check_secret(name, "3")

import math

import pytest
import yaml

from nbtools.errors import InputError
from nbtools.runs.plan import METRIC, read_plan
from tests.runs.small_sweeps import write_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(write_tiny(tmp_path_factory.mktemp("plan")))


def plan(tiny, **asked):
    return read_plan({"notebook": tiny, **asked})


def test_a_notebook_alone_is_one_run_with_its_own_parameters(tiny):
    assert plan(tiny).rows == [{}] and plan(tiny).metric == METRIC


def test_a_grid_is_every_combination_with_every_seed(tiny):
    made = plan(tiny, fixed={"word": "same"}, grid={"rate": [0.1, 0.2], "size": [1, 2, 3]}, seeds=2)
    assert len(made.rows) == 12 and made.varied == ["rate", "size", "seed"] and made.doubles == 0
    assert made.rows[0] == {"word": "same", "rate": 0.1, "size": 1, "seed": 0}
    assert {(row["rate"], row["size"], row["seed"]) for row in made.rows} == {
        (rate, size, seed) for rate in (0.1, 0.2) for size in (1, 2, 3) for seed in (0, 1)
    }


def test_grid_list_and_draws_add_up_and_doubles_are_made_once(tiny):
    made = plan(tiny, grid={"rate": [0.1]}, list=[{"rate": 0.1}, {"rate": 0.5, "size": 9}], random={"count": 3, "draw": {"size": [4]}})
    assert made.rows == [{"rate": 0.1}, {"rate": 0.5, "size": 9}, {"size": 4}] and made.doubles == 3


def test_draws_lie_in_their_range_and_are_the_same_for_the_same_seed(tiny):
    draw = {"rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}, "size": {"low": 2, "high": 5}, "word": ["a", "b"]}
    one, again, other = (plan(tiny, random={"count": 200, "seed": seed, "draw": draw}).rows for seed in (3, 3, 4))
    assert one == again != other
    assert all(1e-4 <= row["rate"] <= 1e-2 for row in one) and {row["size"] for row in one} == {2, 3, 4, 5}
    assert {row["word"] for row in one} == {"a", "b"}
    below = sum(row["rate"] < 1e-3 for row in one) / len(one)  # the middle of a log scale
    assert abs(below - 0.5) < 4 * math.sqrt(0.25 / 200)


def test_limits_are_seconds_and_bytes_inside_and_minutes_and_gigabytes_in_the_file(tiny):
    limits = plan(tiny, limits={"minutes": 1.5, "memory_gb": 0.5}).limits
    assert (limits.timeout_seconds, limits.memory_bytes, limits.runs) == (90, 500_000_000, 1_000)
    assert plan(tiny, limits={"minutes": None}).limits == plan(tiny).limits


def test_a_number_that_yaml_reads_as_text_becomes_a_number(tmp_path):
    notebook = write_tiny(tmp_path)
    file = tmp_path / "sweep.yaml"
    file.write_text(f"notebook: {notebook.name}\ngrid:\n  rate: [1e-3, 3e-4]\n")  # YAML 1.1 takes 1e-3 for text
    assert isinstance(yaml.safe_load(file.read_text())["grid"]["rate"][0], str)
    assert [row["rate"] for row in read_plan(file).rows] == [1e-3, 3e-4]


SECRET = "hf" + "_" + "x" * 30
BAD = {
    "no notebook": ({"notebook": None}, "names no notebook"),
    "unknown notebook": ({"notebook": "12_nothing"}, "12_nothing"),
    "unknown key": ({"grids": {}}, "Did you mean 'grid'?"),
    "unknown parameter": ({"grid": {"rat": [1]}}, "Did you mean 'rate'?"),
    "wrong type": ({"grid": {"size": ["many"]}}, "size must be a whole number"),
    "impossible seed": ({"fixed": {"seed": -1}}, "from 0 up to"),
    "secret name": ({"fixed": {"api_key": "x"}}, "looks like a secret"),
    "secret value": ({"fixed": {"word": SECRET}}, "looks like a secret"),
    "ours": ({"fixed": {"output_dir": "x"}}, "sees to output_dir itself"),
    "a million": ({"grid": {"rate": list(range(1, 1001)), "size": list(range(1, 1001))}}, "1,000,000 runs"),
    "above its own limit": ({"grid": {"rate": [1, 2, 3]}, "limits": {"runs": 2}}, "3 runs, and at most 2"),
    "no list in a grid": ({"grid": {"rate": 0.1}}, "Give a list"),
    "empty grid value": ({"grid": {"rate": []}}, "Give a list"),
    "grid is a list": ({"grid": [1]}, "names and values"),
    "list is a mapping": ({"list": {"rate": 1}}, "no list of runs"),
    "fixed and varied": ({"fixed": {"rate": 1}, "grid": {"rate": [1]}}, "fixed and varied"),
    "two places for seeds": ({"fixed": {"seed": 1}, "seeds": 2}, "under `seeds`"),
    "seeds": ({"seeds": "three"}, "how many"),
    "no seeds": ({"seeds": 0}, "how many"),
    "count": ({"random": {"count": 0, "draw": {"rate": [1]}}}, "whole number from 1"),
    "draw nothing": ({"random": {"count": 2}}, "what to draw"),
    "draw backwards": ({"random": {"count": 2, "draw": {"rate": {"low": 2, "high": 1}}}}, "cannot be drawn"),
    "log of nothing": ({"random": {"count": 2, "draw": {"rate": {"low": 0, "high": 1, "scale": "log"}}}}, "cannot be drawn"),
    "scale": ({"random": {"count": 2, "draw": {"rate": {"low": 1, "high": 2, "scale": "lag"}}}}, "linear, log"),
    "keep": ({"keep": "some"}, "none, best, all"),
    "better": ({"better": "more"}, "lower, higher"),
    "metric": ({"metric": 3}, "Name a figure"),
    "limit": ({"limits": {"minutes": 0}}, "above 0"),
    "limit of runs": ({"limits": {"runs": 2.5}}, "whole number"),
    "unknown limit": ({"limits": {"memory": 2}}, "Did you mean 'memory_gb'?"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_two_lines_before_anything_starts(tiny, name):
    asked, said = BAD[name]
    with pytest.raises(InputError) as raised:
        read_plan({"notebook": tiny, **asked})
    lines = str(raised.value).splitlines()
    assert len(lines) == 2 and said in str(raised.value) and SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [1,\nb", "line 2"), ("- 1", "holds no sweep"), ("", "holds no sweep"), ("\tx: 1", "not YAML"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_a_file_that_is_no_plan_is_answered_with_its_line(tmp_path, text, said):
    file = tmp_path / "sweep.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=said):
        read_plan(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_plan(tmp_path / "none.yaml")

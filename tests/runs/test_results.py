import math
import statistics

import pandas
import pytest

from nbtools import sweep
from nbtools.runs import by_combination, read_table, write_tables
from tests.runs.small_sweeps import write_tiny

pytestmark = [pytest.mark.xdist_group("results"), pytest.mark.slow(15)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    cell = "if word == 'bad': raise ValueError('<b>no</b>')"
    asked = {
        "notebook": str(write_tiny(folder / "nb", cell)), "grid": {"rate": [0.1, 0.3]}, "list": [{"word": "bad"}], "seeds": [0, 10, 20],
    }  # fmt: skip
    sweep(asked, folder / "out", workers=2)
    return folder / "out"


def test_the_table_holds_every_run_and_failures_come_last(swept):
    table = read_table(swept)
    assert len(table) == 9 and list(table["state"]) == ["done"] * 6 + ["failed"] * 3
    assert table["failure"].dropna().unique().tolist() == ["the cell raised an error"]
    assert {"rate", "word", "seed", "value", "validation_perplexity", "seconds", "peak_memory_bytes"} <= set(table.columns)


def test_means_and_intervals_over_seeds_are_those_of_the_textbook(swept):
    rows = by_combination(read_table(swept), ["rate", "word", "seed"], "lower")
    assert rows["rate"].tolist() == [0.3, 0.1] and rows["runs"].tolist() == [3, 3]
    values = [0.02, 0.03, 0.04]  # size / 100 and seed / 1000
    assert rows["mean"][0] == pytest.approx(statistics.mean(values)) and rows["deviation"][0] == pytest.approx(statistics.stdev(values))
    assert rows["interval"][0] == pytest.approx(4.303 * statistics.stdev(values) / math.sqrt(3), rel=1e-3)  # t for 2 degrees of freedom


def test_one_seed_has_no_interval():
    table = pandas.DataFrame({"rate": [1, 2], "state": ["done", "done"], "value": [0.5, 0.4]})
    rows = by_combination(table, ["rate"], "lower")
    assert rows["rate"].tolist() == [2, 1] and rows["interval"].isna().all()
    assert by_combination(table, ["rate"], "higher")["rate"].tolist() == [1, 2]


def test_csv_and_parquet_hold_the_same_table(swept):
    csv, parquet = write_tables(swept)
    one, other = pandas.read_csv(csv), pandas.read_parquet(parquet)
    assert list(one["run"]) == list(other["run"]) == list(read_table(swept)["run"])
    assert one["value"].tolist()[:6] == pytest.approx(other["value"].tolist()[:6])


@pytest.mark.slow(7)
def test_a_column_of_several_kinds_becomes_text_in_parquet(tmp_path):
    asked = {"notebook": str(write_tiny(tmp_path / "nb")), "list": [{"word": "a", "size": 1}, {"rate": 0.2}]}
    sweep(asked, tmp_path / "out")
    assert pandas.read_parquet(tmp_path / "out" / "tables" / "runs.parquet").shape[0] == 2

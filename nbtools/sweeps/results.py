"""What came of a sweep, as tables: one row a run, and one a combination over its seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.runtime import put_in_place, spreadsheet_cell
from nbtools.runtime.foreign import read_json
from nbtools.sweeps.control import read_record
from nbtools.sweeps.metrics import FINETUNE, BrokenMetricsError, value_of
from nbtools.sweeps.plan import SEED
from nbtools.sweeps.runs import place_of, state_of
from nbtools.values import checked

if TYPE_CHECKING:
    import pandas

LEVEL = 0.95  # of the intervals
FIGURES = {  # columns beside the metric, and where they stand in a fine-tuning's metrics.json
    "before": "before.validation.bits_per_byte",
    "validation_perplexity": "after.validation.perplexity",
    "test_perplexity": "after.test.perplexity",
    "training_seconds": "seconds",
    "tokens_seen": "tokens_seen",
}


def read_table(folder: Path) -> pandas.DataFrame:
    """One row a run, best first, then those without a value: id, state, parameters, value, other figures, seconds, memory, failure.

    The parameters' columns are called as they are; `value` is the sweep's metric.
    """
    record = read_record(folder)
    return table_of(record, *read_runs(folder, record))


def read_runs(folder: Path, record: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The status and the metrics.json ({} where there is none) of every run that the record names, each by the run's id."""
    ids = [run["id"] for run in record["runs"]]
    return {run: state_of(folder, run) for run in ids}, {run: read_run_metrics(folder, run) for run in ids}


def table_of(record: Mapping[str, Any], statuses: Mapping[str, Any], metrics: Mapping[str, Any]) -> pandas.DataFrame:
    """The table that `read_table` describes, from a record and what `read_runs` returns for it."""
    import pandas

    names = list(dict.fromkeys(name for run in record["runs"] for name in run["parameters"]))
    rows = [_row(run, statuses[run["id"]], metrics[run["id"]], names) for run in record["runs"]]
    table = pandas.DataFrame(
        rows, columns=["run", "state", *names, "value", *FIGURES, "seconds", "peak_memory_bytes", "attempts", "failure"]
    )
    return table.sort_values("value", ascending=record["better"] == "lower", na_position="last", kind="stable", ignore_index=True)


def _row(run: Mapping[str, Any], status: Mapping[str, Any], metrics: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    failure = status.get("failure") or {}
    row = {"run": run["id"], "state": status["state"], **{name: run["parameters"].get(name) for name in names}}
    row |= {
        "value": status.get("value", math.nan), "seconds": status.get("seconds"), "peak_memory_bytes": status.get("peak_memory_bytes"),
        "attempts": status.get("attempt"), "failure": failure.get("reason"),
    }  # fmt: skip
    for column, path in FIGURES.items():
        try:
            row[column] = value_of(metrics, path)
        except BrokenMetricsError:
            row[column] = math.nan  # another kind of notebook
    return row


def read_run_metrics(folder: Path, run: str) -> dict[str, Any]:
    """The metrics.json of a finished run; {} where there is none."""
    try:
        return dict(read_json(place_of(folder, run) / "metrics.json", FINETUNE, absent={}))
    except InputError:
        return {}


@checked()
def by_combination(table: pandas.DataFrame, varied: Sequence[str], better: str) -> pandas.DataFrame:
    """One row a combination of the varied parameters but `seed`, best mean first.

    Columns: the parameters; runs (finished ones); mean, deviation (of a sample) and interval, half of the LEVEL confidence interval of the
    mean by Student's t; NaN where there are fewer than two seeds.
    """
    import pandas
    from scipy.stats import t as student_t

    names = [name for name in varied if name != SEED]
    done = table[table["state"] == "done"]
    rows = []
    groups = done.groupby(names, dropna=False, sort=False) if names else [((), done)]
    for key, group in groups:
        values = group["value"].astype(float)
        half = student_t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.sem() if len(values) > 1 else math.nan
        rows.append(
            {**dict(zip(names, key, strict=True)), "runs": len(values), "mean": values.mean(), "deviation": values.std(), "interval": half}
        )
    made = pandas.DataFrame(rows, columns=[*names, "runs", "mean", "deviation", "interval"])
    return made.sort_values("mean", ascending=better == "lower", kind="stable", ignore_index=True)


def write_tables(folder: Path) -> list[Path]:
    """Write the table as CSV, in which no text is a formula, and as Parquet into the sweep's folder and return their paths."""
    return save_tables(folder, read_table(folder))


def save_tables(folder: Path, table: pandas.DataFrame) -> list[Path]:
    """Write the table that `read_table` returned, as `write_tables` does."""
    with put_in_place(folder / "tables") as aside:
        texts = table.map(lambda value: spreadsheet_cell(value) if isinstance(value, str) else value)
        texts.rename(columns=spreadsheet_cell).to_csv(aside / "runs.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
        _plain(table).to_parquet(aside / "runs.parquet", index=False)
    return [folder / "tables" / name for name in ("runs.csv", "runs.parquet")]


def _plain(table: pandas.DataFrame) -> pandas.DataFrame:
    """Columns of one type each, as Parquet wants them: a column of several kinds becomes text."""
    table = table.copy()
    for name in table.columns:
        kinds = {type(value) for value in table[name] if value is not None and value == value}
        if (len(kinds) > 1 and not kinds <= {int, float}) or kinds & {list, dict}:
            table[name] = [None if value is None else str(value) for value in table[name]]
    return table

"""What came of a sweep, as tables: one row per run, and one per combination over its seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.runs.metrics import FINETUNE, BrokenMetricsError, value_of
from nbtools.runs.plan import SEED
from nbtools.runs.store import RunStore
from nbtools.runs.sweeps import read_record
from nbtools.storage import atomic_folder
from nbtools.storage.json_files import read_json
from nbtools.system import spreadsheet_cell
from nbtools.values import checked

if TYPE_CHECKING:
    import pandas

LEVEL = 0.95  # of the confidence intervals
FIGURES = {  # columns beside the metric, and where they stand in a fine-tuning's metrics.json
    "before": "before.validation.bits_per_byte",
    "validation_perplexity": "after.validation.perplexity",
    "test_perplexity": "after.test.perplexity",
    "training_seconds": "seconds",
    "tokens_seen": "tokens_seen",
}


@dataclass(frozen=True)
class SweepResults:
    """A sweep's folder, each of its files read once.

    record    `sweep.json`
    statuses  of each run, by id
    metrics   of each run, by id; {} where it has none
    """

    record: dict[str, Any]
    statuses: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, Any]]

    def table(self) -> pandas.DataFrame:
        """One row per run, best first, then those without a value: id, state, parameters, value, other figures, seconds, memory, failure.

        The parameters' columns have their names; `value` is the sweep's metric.
        """
        import pandas

        names = list(dict.fromkeys(name for run in self.record["runs"] for name in run["parameters"]))
        columns = ["run", "state", *names, "value", *FIGURES, "seconds", "peak_memory_bytes", "attempts", "failure"]
        table = pandas.DataFrame([self._row(run, names) for run in self.record["runs"]], columns=columns)
        lower = self.record["better"] == "lower"
        return table.sort_values("value", ascending=lower, na_position="last", kind="stable", ignore_index=True)

    def _row(self, run: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        status, metrics = self.statuses[run["id"]], self.metrics[run["id"]]
        row = {"run": run["id"], "state": status["state"], **{name: run["parameters"].get(name) for name in names}}
        row |= {
            "value": status.get("value", math.nan), "seconds": status.get("seconds"), "peak_memory_bytes": status.get("peak_memory_bytes"),
            "attempts": status.get("attempt"), "failure": (status.get("failure") or {}).get("reason"),
        }  # fmt: skip
        for column, path in FIGURES.items():
            try:
                row[column] = value_of(metrics, path)
            except BrokenMetricsError:
                row[column] = math.nan  # another kind of notebook
        return row


def read_results(folder: Path) -> SweepResults:
    """Read a sweep's folder. Raises RunError where it holds no sweep."""
    record, store = read_record(folder), RunStore(folder)
    runs = [run["id"] for run in record["runs"]]
    return SweepResults(record, {run: store.state_of(run) for run in runs}, {run: _read_metrics(store.folder_of(run)) for run in runs})


def read_table(folder: Path) -> pandas.DataFrame:
    """The table of a sweep, as `SweepResults.table` describes it. Raises RunError where the folder holds no sweep."""
    return read_results(folder).table()


def _read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics.json of a finished run; {} where there is none that can be read."""
    try:
        return dict(read_json(folder / "metrics.json", FINETUNE))
    except InputError:
        return {}


@checked()
def by_combination(table: pandas.DataFrame, varied: Sequence[str], better: str) -> pandas.DataFrame:
    """One row per combination of the varied parameters but `seed`, best mean first.

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


def write_tables(folder: Path, table: pandas.DataFrame | None = None) -> list[Path]:
    """Write a sweep's table as CSV, in which no text is a formula, and as Parquet into its folder, and return their paths.

    table  as `read_table` gives it; None: it is read
    """
    table = read_table(folder) if table is None else table
    with atomic_folder(folder / "tables") as temporary:
        texts = table.map(lambda value: spreadsheet_cell(value) if isinstance(value, str) else value)
        texts.rename(columns=spreadsheet_cell).to_csv(temporary / "runs.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
        _plain(table).to_parquet(temporary / "runs.parquet", index=False)
    return [folder / "tables" / name for name in ("runs.csv", "runs.parquet")]


def _plain(table: pandas.DataFrame) -> pandas.DataFrame:
    """Columns of one type each, as Parquet needs them: a column of several types becomes text."""
    table = table.copy()
    for name in table.columns:
        kinds = {type(value) for value in table[name] if value is not None and value == value}
        if (len(kinds) > 1 and not kinds <= {int, float}) or kinds & {list, dict}:
            table[name] = [None if value is None else str(value) for value in table[name]]
    return table

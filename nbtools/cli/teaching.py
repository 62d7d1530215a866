"""Commands for learning and teaching: progress, solved copies of notebooks, and the course as web pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nbtools.cli.frame import command

SOLVED = "nbtools_solved"  # key in the metadata of a solved copy; the value is the notebook's name


@command(example="nbtools progress --name Ada")
def progress(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="For a teacher: files that people sent, or a folder of them.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write your name into your progress file, for the person you send it to.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write everybody's exercises as a table.")] = None,
) -> int:
    """Show which exercises are solved: your own, or a class's from the files that people sent.

    Your progress is stored in one file, exercises.json in the folder for runs, which you may send, move or delete.
    """
    from rich.console import Console

    from nbtools.cli.progress_tables import TABLE, show_everybody, show_own, write_csv
    from nbtools.exercises.progress import find_files, progress_file, read_progress, roll_up, write_progress
    from nbtools.storage import destination, resolve_path

    console = Console(highlight=False)
    if csv is not None:
        if not files:
            raise typer.BadParameter("--csv needs files that people sent. Name them, or their folder.")
        csv = destination(csv, TABLE, "--csv")
    if files:
        people, problems = roll_up(find_files([resolve_path(file) for file in files]))
        show_everybody(people, console)
        for line in problems:
            console.print(line, markup=False, style="red")
        if csv is not None:
            write_csv(people, csv)
            console.print(f"Wrote {csv}", markup=False)
        return 1 if problems else 0
    path = progress_file()
    own = read_progress(path)
    if name is not None:
        own.name = name.strip()
        write_progress(path, own)
    show_own(own, path, console)
    return 0


@command(example="nbtools solve 01 --out solved/01_attention.ipynb")
def solve(
    notebook: Annotated[str, typer.Argument(metavar="NOTEBOOK", help="A number (1), a name (01_attention) or a path.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The solved copy to write.")],
) -> int:
    """Write a copy of a notebook with every exercise solved, for instructors."""
    import nbformat

    from nbtools.exercises.framework import solved_copy
    from nbtools.notebooks import choose_notebooks
    from nbtools.notebooks.content import as_node, read_content
    from nbtools.storage import Kind, destination, replace_text
    from nbtools.storage.json_files import read_object

    def is_solved(file: Path) -> bool:
        metadata = read_object(file).get("metadata")
        return isinstance(metadata, dict) and SOLVED in metadata

    chosen = choose_notebooks([notebook])[0]
    target = destination(out, Kind("a solved copy of a notebook", is_solved, is_file=True), "--out")
    solved = solved_copy(as_node(read_content(chosen.path)))
    solved.metadata[SOLVED] = chosen.name
    replace_text(target, nbformat.writes(solved) + "\n")
    print(f"Wrote {out}")
    return 0


@command(example="nbtools site --out site")
def site(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the pages.")],
    model: Annotated[str, typer.Option(metavar="DIR", help="A run of notebook 04, or a saved model: shown beside the base.")] = "",
) -> int:
    """Write the course as web pages, with views that run the model in the browser. They open from a disk and from any server.

    The outputs are those stored in the notebooks. The fine-tuned model is that of `--model`, else of runs/tuned/mini, else a quick one is
    trained.
    """
    from nbtools.site import write_site

    print(f"Open {write_site(out, model or None)}")
    return 0

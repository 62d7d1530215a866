"""One fine-tuning from a terminal, which several processes can share:

    python -m nbtools.training --profile mini --max_steps 20
    accelerate launch --multi_gpu --num_processes 2 -m nbtools.training --profile mini --max_steps 20

Options have the names of notebook 04's parameters; `batch_size` is the total over all processes. Under a launcher the processes share each
step's blocks; only the first one evaluates and writes the model and metrics.json. Use `--multi_gpu` on processors too: it is accelerate's
way to start several processes on one machine, while its `--cpu` starts one, or needs MPI.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, get_type_hints

import typer
from accelerate import PartialState

from nbtools.data import load_reviews, pack
from nbtools.errors import CourseError
from nbtools.evaluation import evaluate
from nbtools.models import load_model
from nbtools.system import device, say, tolerant_output
from nbtools.training import FinetuneConfig, finetune, write_metrics


def option(name: str, help: str) -> Any:
    """An option that is spelled like the parameter."""
    return typer.Option(f"--{name}", help=help)


def config_options() -> list[inspect.Parameter]:
    """An option for each field of FinetuneConfig, with the docstring under the field as its help."""
    body = ast.parse(inspect.getsource(FinetuneConfig)).body[0].body  # type: ignore[attr-defined]
    help = {ast.unparse(one.target): other.value.value.strip() for one, other in pairwise(body) if isinstance(one, ast.AnnAssign)}
    options = []
    for name, kind in get_type_hints(FinetuneConfig).items():
        spelling = f"{name}/--no-{name}" if kind == bool | None else name
        annotation, default = Annotated[kind, option(spelling, help[name])], getattr(FinetuneConfig, name)
        options.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return options


def takes_config(function: Callable[..., None]) -> Callable[..., None]:
    """A decorator: typer sees the options of FinetuneConfig in the place of `**settings`."""
    explicit = [one for one in inspect.signature(function, eval_str=True).parameters.values() if one.kind is not one.VAR_KEYWORD]
    options = [*explicit, *config_options()]
    function.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    function.__annotations__ = {one.name: one.annotation for one in options}
    return function


@takes_config
def main(
    profile: Annotated[str, option("profile", "A model of the ladder: mini, smollm2, gpt2 …")] = "mini",
    model: Annotated[str | None, option("model", "A Hub name or a folder; overrides profile.")] = None,
    dataset: Annotated[str, option("dataset", "Where the reviews come from: auto, package, hub.")] = "auto",
    max_reviews: Annotated[int | None, option("max_reviews", "Reviews used, over all parts.")] = None,
    block_size: Annotated[int | None, option("block_size", "Tokens per block.")] = None,
    output_dir: Annotated[str | None, option("output_dir", "Folder of the run. Default: runs/tuned/<profile>.")] = None,
    sample: Annotated[list[str] | None, option("sample", "A prompt that is continued during training; can be repeated.")] = None,
    resume: Annotated[bool, option("resume", "Continue an interrupted run.")] = False,
    **settings: Any,
) -> None:
    """Fine-tune a model on film reviews, in this process or in those of a launcher.

    Example: accelerate launch --multi_gpu --num_processes 2 -m nbtools.training --max_steps 20
    """
    FinetuneConfig(**settings)  # an invalid value is refused before anything is read
    processes = PartialState(cpu=device().type == "cpu")
    with processes.local_main_process_first():  # one process per machine reads and tokenizes; the others find the result in the cache
        lm = load_model(model or profile, verbose=processes.is_main_process)
        reviews = load_reviews(dataset, max_reviews or lm.defaults.max_reviews)
        packed = pack(reviews.train, lm, block_size)
    scored = ("validation", "test") if processes.is_main_process else ()
    before = {part: evaluate(lm, reviews.part(part), part) for part in scored}
    tuned = finetune(
        lm,
        packed,
        output_dir=output_dir,
        resume=resume,
        prompts=sample or (),
        validation=reviews.validation,
        reviews=reviews,
        before=before,
        **settings,
    )
    if processes.is_main_process:
        path = write_metrics(tuned)
        for part, score in tuned.after.items():
            print(f"{part:<10} perplexity {before[part].perplexity:.1f} before, {score.perplexity:.1f} after")
        shared = f"{processes.num_processes} processes" if processes.num_processes > 1 else "1 process"
        print(f"{shared}: {tuned}\nWrote {path.parent.name}/{path.name}")
    processes.wait_for_everyone()


def run() -> None:
    """`main` with an error message of two lines for every mistake of a user."""
    try:
        with tolerant_output():
            typer.run(main)
    except CourseError as error:
        say(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()

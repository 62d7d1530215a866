"""One fine-tuning from a terminal, and the form that several processes share:

    python -m nbtools.training --profile mini --max_steps 20
    accelerate launch --multi_gpu --num_processes 2 -m nbtools.training --profile mini --max_steps 20

Options are called as the parameters of notebook 04; `batch_size` is of all processes together. Under a launcher the processes share each
step's blocks; the first alone scores, writes the model and writes metrics.json. `--multi_gpu` is right on processors too: it is
accelerate's way to start several processes on one machine, while its `--cpu` starts one, or wants MPI.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from accelerate import PartialState

from nbtools.data import load_reviews, pack
from nbtools.errors import CourseError
from nbtools.evaluation import Score, evaluate
from nbtools.models import load_model
from nbtools.runtime import device, say, tolerant_output
from nbtools.training import FinetuneConfig, finetune, write_metrics


def named(name: str, help: str) -> Any:
    return typer.Option(f"--{name}", metavar="VALUE", help=help)


def main(
    profile: Annotated[str, named("profile", "A model from the ladder: mini, smollm2, gpt2 …")] = "mini",
    model: Annotated[str | None, named("model", "A Hub name or a folder; overrides profile.")] = None,
    dataset: Annotated[str, named("dataset", "Where the reviews come from: auto, package, hub.")] = "auto",
    max_reviews: Annotated[int | None, named("max_reviews", "Reviews used, all parts together.")] = None,
    block_size: Annotated[int | None, named("block_size", "Tokens a block.")] = None,
    batch_size: Annotated[int | None, named("batch_size", "Blocks per pass, of all processes together.")] = None,
    gradient_accumulation_steps: Annotated[int, named("gradient_accumulation_steps", "Passes per optimizer step.")] = 1,
    max_steps: Annotated[int | None, named("max_steps", "Optimizer steps.")] = None,
    epochs: Annotated[float | None, named("epochs", "Passes over the blocks, in place of max_steps.")] = None,
    learning_rate: Annotated[float | None, named("learning_rate", "Peak of the schedule.")] = None,
    lora: Annotated[bool, typer.Option("--lora", help="Train low-rank adapters instead of all weights.")] = False,
    seed: Annotated[int, named("seed", "Of the order of the blocks.")] = 0,
    output_dir: Annotated[str | None, named("output_dir", "Where the run is kept. Default: runs/tuned/<profile>.")] = None,
    sample: Annotated[list[str] | None, named("sample", "A prompt that is continued along the way, more than once for several.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
) -> None:
    """Fine-tune a model on film reviews, in this process or in those of a launcher.

    Example: accelerate launch --multi_gpu --num_processes 2 -m nbtools.training --max_steps 20
    """
    settings: dict[str, Any] = {
        "batch_size": batch_size, "gradient_accumulation_steps": gradient_accumulation_steps, "max_steps": max_steps, "epochs": epochs,
        "learning_rate": learning_rate, "lora": lora, "seed": seed,
    }  # fmt: skip
    FinetuneConfig(**settings)  # an invalid value is refused before anything is read
    processes = PartialState(cpu=device().type == "cpu")
    with processes.local_main_process_first():  # one process of a machine reads and tokenizes; the others find it in the cache
        lm = load_model(model or profile, verbose=processes.is_main_process)
        reviews = load_reviews(dataset, max_reviews or lm.defaults.max_reviews)
        packed = pack(reviews.train, lm, block_size)

    def score(scored: Any) -> dict[str, Score]:
        return {part: evaluate(scored, reviews.part(part), part) for part in ("validation", "test")} if processes.is_main_process else {}

    before = score(lm)
    tuned = finetune(lm, packed, output_dir=output_dir, resume=resume, prompts=sample or (), validation=reviews.validation, **settings)
    after = score(tuned.lm)
    if processes.is_main_process:
        path = write_metrics(tuned, before=before, after=after, reviews=reviews, packed=packed)
        for part in before:
            print(f"{part:<10} perplexity {before[part].perplexity:.1f} before, {after[part].perplexity:.1f} after")
        shared = f"{processes.num_processes} processes" if processes.num_processes > 1 else "1 process"
        print(f"{shared}: {tuned}\nWrote {path.parent.name}/{path.name}")
    processes.wait_for_everyone()


def run() -> None:
    """`main` with the two lines that every mistake of a person gets."""
    try:
        with tolerant_output():
            typer.run(main)
    except CourseError as error:
        say(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()

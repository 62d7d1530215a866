"""Share a fine-tuned model: a model card filled in from its metrics, and an upload to the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbtools.errors import InputError, RunError, UnreachableError
from nbtools.models.screening import check_links
from nbtools.storage import Kind, destination, replace_text, resolve_path
from nbtools.storage.atomic import MARK
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Maybe
from nbtools.system import hub_state
from nbtools.texts import escape_markdown as plain
from nbtools.values import checked

SAMPLES = 3  # shown in the card
CARD = Kind("a card", lambda file: file.parent.parent.joinpath("metrics.json").is_file(), is_file=True)
SCORES = {str: {"perplexity": float, "bits_per_byte": float}}
METRICS = {  # what the card takes from metrics.json
    "model": str, "source": str, "steps": int, "tokens_seen": int, "before": SCORES, "after": SCORES, "choices": {"dtype": str},
    "data": {"source": str, "read": int, "kept": int, "packed": {"tokens": int}},
    "parameters": {"block_size": int, "batch_size": int, "learning_rate": float, "seed": int},
    "samples": Maybe([{"prompt": str, "after": str}], []),
}  # fmt: skip


@checked()
def write_card(folder: str | Path, *, about: str = "", licence: str = "") -> Path:
    """Write the model's `README.md` from the `metrics.json` of its run, and return its path.

    folder   folder of the run, with `model` in it
    about    what the model is for
    licence  a licence as the Hub names it

    An existing card is renamed, because somebody may have edited it. Raises RunError where there are no metrics.
    """
    folder = resolve_path(folder)
    remedy = "Call write_metrics first, as notebook 04 does."
    metrics = read_json(folder / "metrics.json", METRICS, remedy, RunError, absent=None)
    if metrics is None:
        raise RunError(f"{folder} holds no metrics.json of a fine-tuning.", remedy)
    return replace_text(destination(folder / "model" / "README.md", CARD), tuned_card(metrics, about, licence))


def tuned_card(metrics: Mapping[str, Any], about: str = "", licence: str = "") -> str:
    """The model card as Markdown: data, training, evaluation, samples, limits."""
    front = ["---", "library_name: transformers", "pipeline_tag: text-generation", *([f"license: {licence}"] if licence else [])]
    rows = [
        f"| {part} | {metrics['before'][part]['perplexity']:.1f} | {metrics['after'][part]['perplexity']:.1f} | "
        f"{metrics['before'][part]['bits_per_byte']:.3f} | {metrics['after'][part]['bits_per_byte']:.3f} |"
        for part in metrics["after"]
        if part in metrics["before"]
    ]
    plan, data = metrics["parameters"], metrics["data"]
    samples = "\n".join(f"- **{plain(row['prompt'])}** {plain(row['after'][len(row['prompt']) :])}" for row in metrics["samples"][:SAMPLES])
    model = plain(metrics["model"])
    parts = [
        "\n".join([*front, "---"]),
        f"# {model}, fine-tuned",
        about or "*Describe here what the model is for, and for whom.*",
        "## Data",
        f"From {plain(data['source'])}: {data['read']:,} texts read, {data['kept']:,} kept. "
        f"{data['packed']['tokens']:,} tokens in training, packed into blocks of {plan['block_size']} with documents kept apart.",
        "## Training",
        f"Started from {model} ({plain(metrics['source'])}). {metrics['steps']:,} steps of {plan['batch_size']} blocks, "
        f"{metrics['tokens_seen']:,} tokens, learning rate {plan['learning_rate']:g}, seed {plan['seed']}"
        f"{', low-rank adapters merged into the weights' if plan.get('lora') else ''}, passes in {metrics['choices']['dtype']}.",
        "## Evaluation",
        "Each held-out text alone, every token once, in fp32; perplexity compares only models with this tokenizer.\n\n"
        "| part | perplexity before | after | bits per byte before | after |\n| --- | ---: | ---: | ---: | ---: |\n" + "\n".join(rows),
        "## Samples\n\nThe first ones of the run, not selected.\n\n" + samples if samples else "",
        "## Limits",
        "A small model. It states untrue things fluently, reflects the views of the texts that it learned from, and may repeat some of "
        "them. Its licence cannot be more permissive than those of the model it started from and of the texts.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def push_model(folder: str | Path, repository: str, *, private: bool = True) -> str:
    """Upload the run's `model` folder to `repository` ("you/name") on the Hub and return its address.

    private  whether a new repository is private

    The token is found where the Hub's client looks for it, and is not shown. Raises InputError for a folder without a complete model or
    without a card, UnreachableError where the upload fails.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    model = resolve_path(folder) / "model"
    missing = [name for name in ("config.json", "model.safetensors", "README.md") if not (model / name).is_file()]
    if missing:
        raise InputError(f"{model} lacks {', '.join(missing)}.", "Fine-tune first, then write the card with write_card.")
    check_links(str(model), model)  # the files that they point to would be uploaded
    if hub_state() != "reachable":
        raise UnreachableError("The Hugging Face Hub cannot be reached.", "Share the folder itself: nothing else is needed.")
    try:
        made = huggingface_hub.create_repo(repository, private=private, exist_ok=True)
        huggingface_hub.upload_folder(
            repo_id=made.repo_id, folder_path=model, ignore_patterns=[MARK], commit_message="A fine-tuned model and its card"
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnreachableError(
            f"The upload to the Hub failed: {first}",
            "Check the name, as you/name, and that your token may write (nbtools doctor finds it).",
        ) from None
    return str(made)

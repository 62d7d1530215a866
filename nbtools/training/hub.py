"""Share a fine-tuned model: a model card filled in from its metrics, and an upload to the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nbtools.errors import InputError, RunError, UnreachableError
from nbtools.models.screening import check_links
from nbtools.storage import Kind, destination, replace_text, resolve_path
from nbtools.storage.atomic import MARK
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Maybe
from nbtools.system import hub_state
from nbtools.texts import escape_markdown
from nbtools.values import checked

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
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters.update(plain=escape_markdown, grouped="{:,}".format)
    return environment.get_template("card.md").render(metrics, about=about, licence=licence)


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

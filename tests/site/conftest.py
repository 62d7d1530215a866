"""A Chromium with the pages' worker, and the models that it is given."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load

from nbtools.models import LanguageModel
from nbtools.widgets.browser.weights import pack_model
from tests.browser.jupyterlab import find_browser, open_page
from tests.site.worker import PageWithWorker
from tests.small_models import mini, tiny


def changed(lm: LanguageModel, seed: int = 1, by: float = 0.1) -> LanguageModel:
    """A model like `lm` whose weights were moved at random, as far as a fine-tuning moves them, and stored as pages store it."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight += by * weight.std().nan_to_num() * torch.randn_like(weight)
    return lm


def unpacked(packed: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, torch.Tensor]:
    """The weights that the pages compute with, fp32, by name."""
    stored = load(base64.b64decode(packed["weights"]))
    found = {}
    for name, weight in stored.items():
        if not name.endswith(".steps"):
            steps = stored.get(f"{name}.steps")
            found[name] = weight.float() if steps is None else weight.float() * steps[:, None]
    if packed["plus"]:
        assert base is not None
        own = unpacked(base)
        found = {name: weight + own[name] for name, weight in found.items()}
    return found


def as_stored(lm: LanguageModel, packed: dict[str, Any], base: dict[str, Any] | None = None) -> LanguageModel:
    """`lm` with the weights that the pages compute with."""
    stored = unpacked(packed, base)
    with torch.no_grad():
        for name, weight in lm.model.named_parameters():
            weight.copy_(stored[name.removeprefix("transformer.")])
    return lm


@pytest.fixture(scope="module")
def in_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageWithWorker]:
    """A page whose worker has mini as `base`."""
    path = find_browser()
    with open_page(path, tmp_path_factory.mktemp("chromium")) as page:
        found = PageWithWorker(page)
        assert found.load("base", pack_model(mini(), "mini")) == ""
        yield found


@pytest.fixture(scope="module")
def pair() -> tuple[LanguageModel, LanguageModel, dict[str, Any], dict[str, Any]]:
    """A tiny model and one that was changed from it, both with the weights that the pages have, and both packed."""
    base, tuned = tiny(), changed(tiny())
    packed = pack_model(base, base.name)
    packed_tuned = pack_model(tuned, "tiny, changed", base)
    return as_stored(base, packed), as_stored(tuned, packed_tuned, packed), packed, packed_tuned

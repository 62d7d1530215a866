"""The shipped model is the one that its model card describes, and it loads without a network."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from nbtools.models.loading import MINI_FOLDER
from nbtools.profiles import PROFILES
from tools.mini.recipe import Recipe

SHA256 = {
    "config.json": "d9f16581f7e651c273528175baaf29aaa5bc1046a39efac05a7e6bfd1d63ddd1",
    "model.safetensors": "20d9fffab3b472c56e0716a2677da79ad2b4eb5f1e4b68b5947e1ff839bae41a",
    "tokenizer.json": "3b95089d582842c701895405b2b6d62b0247f802d0d87aa1d05d726c0aa0d750",
}
LOAD = """
import socket
def refuse(*_, **__): raise AssertionError("loading used the network")
socket.socket.connect = socket.getaddrinfo = refuse
import nbtools
print(nbtools.load_model("mini", verbose=False).parameters)
"""


def test_the_files_have_the_expected_hashes():
    found = {name: hashlib.sha256((MINI_FOLDER / name).read_bytes()).hexdigest() for name in SHA256}
    assert found == SHA256


@pytest.mark.slow(8)
def test_it_loads_without_the_network():
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    made = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True, env=environment)
    assert int(made.stdout) == PROFILES["mini"].parameters


def test_the_model_card_describes_this_model():
    card, config = (MINI_FOLDER / "README.md").read_text(encoding="utf8"), json.loads((MINI_FOLDER / "config.json").read_text())
    assert config["architectures"] == ["GPT2LMHeadModel"] and config["tie_word_embeddings"] is True
    recipe = Recipe(
        vocabulary=config["vocab_size"],
        layers=config["n_layer"],
        heads=config["n_head"],
        width=config["n_embd"],
        context=config["n_positions"],
    )
    assert recipe.stored_parameters == PROFILES["mini"].parameters and f"{PROFILES['mini'].parameters:,} parameters" in card
    for heading in ("## Data", "Held out, whole", "## Training", "## What it was chosen by", "## Samples", "## Limits", "## Licence"):
        assert heading in card
    assert card.count("\n20. ") == 1 and "\n21. " not in card

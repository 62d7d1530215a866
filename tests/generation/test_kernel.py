"""The kernel's results are held to the library's models in test_decoder.py; here is how it comes to be, or not."""

import shutil
import sys

import pytest
import torch

from nbtools.generation import generate, kernel
from nbtools.generation.decoder import prepare, release
from nbtools.generation.weights import read
from nbtools.runtime import native_library
from tests.models_at_hand import mini, tiny

pytestmark = pytest.mark.skipif(kernel.library() is None, reason="no C++ compiler here")


@pytest.mark.parametrize("why", ["no compiler", "switched off", "another system"])
def test_without_it_texts_are_the_same(fresh_native, why, monkeypatch):
    text = generate(mini(), "The movie was", max_new_tokens=20)
    release(mini().model)
    native_library.cache_clear()
    if why == "no compiler":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif why == "switched off":
        monkeypatch.setenv("NBTOOLS_KERNEL", "0")
    else:
        monkeypatch.setattr(sys, "platform", "win32")
    assert kernel.library() is None and prepare(mini().model, torch.float32).kernel is None
    assert generate(mini(), "The movie was", max_new_tokens=20) == text
    release(mini().model)


def test_widths_that_it_cannot_read_in_whole_steps_are_not_given_to_it():
    assert kernel.Kernel.fits(read(tiny().model, torch.float32, torch.Tensor.contiguous))
    from transformers import GPT2Config, GPT2LMHeadModel

    odd = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=20, n_layer=1, n_head=2))
    assert prepare(odd, torch.float32).kernel is None

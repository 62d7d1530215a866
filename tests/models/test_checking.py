"""Facts about a model that are known without its weights."""

import json

import pytest

from nbtools.errors import InputError, ModelError, UnreachableError
from nbtools.models import inspect_model, save_model
from tests.small_models import tiny


def test_the_shipped_model():
    facts = inspect_model("mini")
    assert (facts.kind, facts.parameters, facts.context, facts.licence) == ("gpt2", 8_015_872, 512, "mit")
    assert facts.safe and not facts.chat and facts.download_bytes == 0
    assert "full training 0.1 GB" in repr(facts) and "it continues text" in repr(facts)


def test_a_folder_and_its_chat_template(tmp_path):
    lm = tiny("llama")
    lm.tokenizer.chat_template = "{{ messages[0].content }}"
    save_model(lm, tmp_path / "mine")
    facts = inspect_model(str(tmp_path / "mine"))
    assert facts.kind == "llama" and facts.chat and facts.licence is None and facts.parameters == lm.parameters
    assert "not stated" in repr(facts)


def test_a_name_without_a_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="holds no model"):
        inspect_model(str(tmp_path))
    with pytest.raises(InputError, match="name is empty"):
        inspect_model(" ")
    with pytest.raises(UnreachableError, match="cannot be reached"):
        inspect_model("someone/model")


def test_a_model_with_only_a_pickle_file_is_not_safe(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    assert "can run any code" in repr(inspect_model(str(tmp_path)))

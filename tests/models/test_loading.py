import json
import shutil

import pytest
import torch

from nbtools.errors import InputError, MachineError, ModelError, UnreachableError
from nbtools.models import inspect_model, load_model, locate, parameter_table, save_model
from nbtools.models.loading import MINI_FOLDER
from nbtools.profiles import PROFILES, get_profile
from tests.small_models import mini, tiny


def test_mini_is_part_of_the_package_and_transformers_loads_it():
    from transformers import AutoTokenizer, GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(MINI_FOLDER, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(MINI_FOLDER)
    ids = tokenizer("The movie was", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert model(ids).logits.equal(mini().model(ids).logits)
    assert sum(path.stat().st_size for path in MINI_FOLDER.iterdir()) < 25e6
    assert (MINI_FOLDER / "README.md").is_file()


def test_the_profile_states_the_size_of_mini():
    assert mini().parameters == PROFILES["mini"].parameters == sum(parameter_table(mini()).values())
    assert set(parameter_table(mini())) == {"token embedding", "position embedding", "attention", "feed-forward", "layer norms"}


def test_weights_become_fp32_and_a_summary_is_printed(capsys):
    lm = load_model("mini")
    assert {weight.dtype for weight in lm.model.parameters()} == {torch.float32}
    assert not lm.model.training
    printed = capsys.readouterr().out
    assert f"mini: GPT2LMHeadModel, {PROFILES['mini'].parameters:,} parameters" in printed and "from the nbtools package" in printed


def test_a_saved_model_has_the_same_weights_and_profile_when_loaded(tmp_path):
    lm = tiny()
    save_model(lm, tmp_path / "saved")
    again = load_model(str(tmp_path / "saved"), verbose=False)
    assert all(a.equal(b) for a, b in zip(lm.model.parameters(), again.model.parameters(), strict=True))
    assert again.profile is PROFILES["mini"] and again.document_id == 0
    assert not list(tmp_path.glob("**/*.bin"))


def test_a_failed_save_leaves_the_earlier_model(tmp_path, monkeypatch):
    save_model(tiny(seed=1), tmp_path / "saved")
    before = (tmp_path / "saved" / "model.safetensors").read_bytes()
    lm = tiny(seed=2)
    monkeypatch.setattr(type(lm.tokenizer), "save_pretrained", lambda *a, **k: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save_model(lm, tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_an_unknown_profile_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="no profile called 'gpt-2'") as caught:
        get_profile("gpt-2")
    assert "gpt2" in caught.value.remedy


@pytest.mark.parametrize("bad", ["", "  ", None, 3])
def test_an_empty_name_is_refused(bad):
    with pytest.raises(InputError, match="empty"):
        locate(bad)


def test_a_missing_folder_and_one_without_a_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no folder"):
        load_model(str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="holds no model"):
        load_model(str(tmp_path))


def test_broken_weights_give_a_one_line_error(tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(MINI_FOLDER, folder)
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    assert "\n" not in caught.value.problem


def test_weights_larger_than_the_memory_are_refused_before_they_are_read(monkeypatch):
    """A notebook kernel that loads them would be killed without an error message."""
    needed = 4 * PROFILES["mini"].parameters
    monkeypatch.setattr("nbtools.models.screening.available_memory", lambda: needed - 1)
    with pytest.raises(MachineError, match=r"mini takes 0\.0 GB of memory in fp32, and 0\.0 GB are free") as caught:
        load_model("mini", verbose=False)
    assert "smaller model" in caught.value.remedy
    monkeypatch.setattr("nbtools.models.screening.available_memory", lambda: 2 * needed)
    assert load_model("mini", verbose=False).parameters == needed // 4


def test_pickled_weights_are_refused(tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(MINI_FOLDER, folder)
    (folder / "model.safetensors").unlink()
    torch.save(mini().model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_model(str(folder))


def test_remote_code_is_refused(tmp_path):
    folder = tmp_path / "remote"
    shutil.copytree(MINI_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "stranger", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('this code must never run')")
    with pytest.raises(ModelError):
        load_model(str(folder))


def test_with_the_hub_switched_off_the_available_profiles_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    for name in ("gpt2", "some-owner/some-model"):
        with pytest.raises(UnreachableError, match="switched off") as caught:
            load_model(name)
        assert "mini" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "right"), [("Mini", "mini"), ("mini ", "mini"), ("minni", "mini"), ("GPT2", "gpt2"), ("gpt-2", "gpt2"), ("smollm", "smollm2")]
)
@pytest.mark.parametrize("look_for", [load_model, locate, inspect_model])
def test_a_misspelt_profile_is_named_before_the_hub_is_asked(monkeypatch, name, right, look_for):
    """It used to be looked for on the Hub, whose error does not mention profiles."""
    for module in ("loading", "checking"):
        monkeypatch.setattr(f"nbtools.models.{module}.hub_state", lambda: pytest.fail("the Hub was asked"))
    with pytest.raises(InputError) as refused:
        look_for(name)
    assert f"Did you mean {right!r}?" in refused.value.remedy and repr(name) in refused.value.problem


@pytest.mark.parametrize("name", ["gpt2-xl", "openai-gpt", "bert-base-uncased", "owner/mini", "owner/gpt-2"])
def test_names_on_the_hub_are_not_taken_for_misspelt_profiles(monkeypatch, name):
    monkeypatch.setattr("nbtools.models.loading._check_hub", lambda repository: None)
    assert locate(name)[0] == name


def test_the_error_for_a_missing_smollm2_says_how_to_fetch_it(monkeypatch, tmp_path):
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="not been fetched") as caught:
        load_model("smollm2")
    assert caught.value.remedy == "Run: nbtools fetch smollm2"

import copy

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from nbtools.accel import unsupported_reason
from nbtools.generation import generate
from tests.small_models import mini, tiny


def test_nothing_is_taken_where_the_package_is_switched_off(monkeypatch):
    monkeypatch.setenv("NBTOOLS_ACCEL", "0")
    assert unsupported_reason(tiny().model) == "NBTOOLS_ACCEL is 0"


def test_the_courses_models_are_taken():
    assert (
        unsupported_reason(mini().model) is None
        and unsupported_reason(tiny().model) is None
        and unsupported_reason(tiny("llama").model) is None
    )


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_model_that_was_looked_into_is_taken_all_the_same(kind):
    """transformers does not take its recording hooks off again."""
    lm = tiny(kind)
    plain = generate(lm, "The movie", max_new_tokens=12)
    lm.model(torch.tensor([[1, 2]]), output_hidden_states=True, output_attentions=True)
    assert any(module._forward_hooks for module in lm.model.modules())
    assert unsupported_reason(lm.model) is None and generate(lm, "The movie", max_new_tokens=12) == plain


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        ("gpt2", "activation_function", "relu"),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "reorder_and_upcast_attn", True),
        ("gpt2", "scale_attn_weights", False),
        ("gpt2", "add_cross_attention", True),
        ("llama", "hidden_act", "gelu"),
        ("llama", "sliding_window", 16),
    ],
)
def test_settings_that_are_not_written_out_are_left_to_transformers(kind, setting, value):
    model = tiny(kind).model
    setattr(model.config, setting, value)
    assert unsupported_reason(model) == "of settings in its config"


def test_other_rotary_scalings_are_left_to_transformers():
    scaling = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    shape = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    assert unsupported_reason(LlamaForCausalLM(LlamaConfig(**shape, rope_parameters=scaling))) == "of settings in its config"


def test_other_classes_are_left_to_transformers():
    shape = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(**shape, num_key_value_heads=2))
    assert unsupported_reason(model) == "its class is Qwen2ForCausalLM"
    assert unsupported_reason(torch.compile(tiny().model)).startswith("its class is ")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_hooked_patched_and_wrapped_models_are_left_to_transformers_and_their_change_counts(kind):
    lm = tiny(kind)
    plain = generate(lm, "The movie", max_new_tokens=12)
    first = lm.model.transformer.h[0].mlp if kind == "gpt2" else lm.model.model.layers[0].mlp
    hook = first.register_forward_hook(lambda module, inputs, output: output + 5 * torch.arange(32) % 7)
    assert unsupported_reason(lm.model).endswith("mlp has a hook")
    assert generate(lm, "The movie", max_new_tokens=12) != plain
    hook.remove()
    assert unsupported_reason(lm.model) is None and generate(lm, "The movie", max_new_tokens=12) == plain
    first.forward = lambda x: x * 0
    assert unsupported_reason(lm.model).endswith("mlp has a hook")


def test_adapters_are_left_to_transformers():
    peft = pytest.importorskip("peft")
    lm = tiny("llama")
    adapted = peft.get_peft_model(lm.model, peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert unsupported_reason(adapted) is not None
    assert "Linear" in unsupported_reason(adapted.base_model.model)


def test_replaced_layers_are_left_to_transformers():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = tiny("llama").model
    model.model.layers[0].self_attn.o_proj = Doubled(32, 32, bias=False)
    assert unsupported_reason(model).endswith("o_proj is a Doubled")
    model = tiny("llama").model
    model.model.layers[0].mlp.up_proj = nn.Sequential(nn.Linear(32, 64, bias=False))
    assert "Sequential" in unsupported_reason(model)


def test_number_formats_that_are_not_written_out_are_left_to_transformers():
    model = tiny().model
    assert unsupported_reason(copy.deepcopy(model).to(torch.bfloat16)) is None
    assert unsupported_reason(copy.deepcopy(model).half()) == "its weights are neither all fp32 nor all bf16"
    model.lm_head.to(torch.bfloat16)
    assert unsupported_reason(tiny().model.to("meta")) == "it is not on the CPU"

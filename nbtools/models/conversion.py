"""Convert SmolLM2's GGUF file into a transformers folder: safetensors weights, a rebuilt tokenizer, and the end-of-text tokens.

Weights are stored in fp32 (538 MB, about the size of GPT-2 small on the Hub). A Q4_1 weight is `scale * q + minimum` with scale and
minimum in fp16, and the sum needs more mantissa bits than fp16 (11) or bf16 (8) have: 42 % of the weights would be rounded in fp16, 79 %
in bf16 (counted). In fp32 every weight equals the one that llama.cpp uses, and the file can be memory-mapped.

The tokenizer that transformers builds from a GGUF file lacks the step that splits off every digit before merging
(`tokenizer.ggml.pre = "smollm"`), so spaces before numbers, and digits other than 0 to 9, get ids that the model never saw there. The
tokenizer built here gives the same ids as llama.cpp for all of 87 unusual strings (tests/models/smollm2_tokens.json); that of transformers
differs for 5. The vocabulary has no token for six control characters (U+0004, 06, 13, 14, 16, 1D), which are dropped, as in llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import ModelError
from nbtools.system import progress

if TYPE_CHECKING:
    import torch
    from gguf import GGUFReader
    from transformers import LlamaConfig, PreTrainedTokenizerFast

# Name of a tensor in the GGUF file, without its layer -> name in transformers.
NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
FETCH_AGAIN = "Fetch the tested one: nbtools fetch smollm2"
CONTROL = 3  # GGUF's token type for control tokens such as <|im_end|>, which merges never produce


def convert(gguf_file: Path, folder: Path) -> None:
    """Write the model in `gguf_file` into `folder` as config.json, generation_config.json, model.safetensors and tokenizer files.

    transformers can read GGUF files as well, but it takes four times as long, builds another tokenizer (see above), and marks the model
    as quantized, so that it cannot be saved. The tests compare these weights with those that transformers reads.

    Needs the package `gguf`. Raises ModelError for a GGUF file that does not hold a Llama model with SmolLM's tokenizer.
    """
    from gguf import GGUFReader
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    reader = GGUFReader(gguf_file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    build_tokenizer(fields).save_pretrained(folder)
    config = build_config(fields)
    config.save_pretrained(folder)
    # A chat turn ends with <|im_end|>, a document with <|endoftext|>: generation stops at either.
    ends = [config.eos_token_id, fields["tokenizer.ggml.tokens"].index("<|endoftext|>")]
    GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=ends, pad_token_id=config.pad_token_id).save_pretrained(folder)
    weights = dict(_named_weights(reader, config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def build_config(fields: dict[str, Any]) -> LlamaConfig:
    """Return the Llama configuration that the fields of the GGUF file describe. Raises ModelError for another architecture."""
    from transformers import LlamaConfig

    if fields.get("general.architecture") != "llama":
        raise ModelError(f"This GGUF holds a {fields.get('general.architecture')} model, not a Llama.", FETCH_AGAIN)
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        # GGUF keeps this as fp32, which would print as 9.999999747378752e-06.
        rms_norm_eps=float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        bos_token_id=fields["tokenizer.ggml.bos_token_id"],
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        pad_token_id=fields["tokenizer.ggml.padding_token_id"],
        tie_word_embeddings=True,  # SmolLM2 has no separate output layer; _named_weights rejects a file with one
        dtype="float32",
    )


def _named_weights(reader: GGUFReader, config: LlamaConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each tensor of the GGUF file with its name in transformers, as fp32 [outputs, inputs]."""
    import torch
    from gguf.quants import dequantize

    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads or config.num_attention_heads}
    for tensor in progress(reader.tensors, "weights", unit="tensor"):
        match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", tensor.name)
        layer, kind = match.groups() if match else (None, "")
        if kind not in NAMES:
            raise ModelError(f"This GGUF holds a tensor {tensor.name} that SmolLM2 does not have.", FETCH_AGAIN)
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        if kind in heads:
            weight = _halves_from_pairs(weight, heads[kind])
        yield (f"model.layers.{layer}." if layer else "model.") + NAMES[kind] + ".weight", weight


def _halves_from_pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder the rows of each head of a query or key matrix, [heads * width, inputs].

    Rotary position embeddings rotate coordinates in pairs. llama.cpp pairs neighbours (0, 1), (2, 3) …; transformers pairs the two
    halves, (0, width / 2), (1, width / 2 + 1) …, so the even rows go to the first half and the odd rows to the second.
    """
    rows, inputs = weight.shape
    return weight.view(heads, rows // heads // 2, 2, inputs).transpose(1, 2).reshape(rows, inputs)


def build_tokenizer(fields: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Return the byte-level BPE tokenizer that the fields of the GGUF file describe, with every digit split off before merging.

    Raises ModelError if the fields describe another kind of tokenizer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    kind = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind != ("gpt2", "smollm"):
        raise ModelError(f"This GGUF's tokenizer is {kind}, not SmolLM's.", FETCH_AGAIN)
    texts = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    inner = Tokenizer(models.BPE(vocab={text: number for number, text in enumerate(texts)}, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    inner.decoder = decoders.ByteLevel()
    control_tokens = [text for text, kind in zip(texts, fields["tokenizer.ggml.token_type"], strict=True) if kind == CONTROL]
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control_tokens])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=texts[fields["tokenizer.ggml.bos_token_id"]],
        eos_token=texts[fields["tokenizer.ggml.eos_token_id"]],
        pad_token=texts[fields["tokenizer.ggml.padding_token_id"]],
        unk_token=texts[fields["tokenizer.ggml.unknown_token_id"]],
        chat_template=fields["tokenizer.chat_template"],
        model_max_length=fields["llama.context_length"],
        clean_up_tokenization_spaces=False,
    )

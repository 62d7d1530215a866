"""A new tokenizer and a randomly initialized GPT-2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.models.loading import LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
LEAST_VOCABULARY = 300  # 256 bytes, end-of-text, and room for something learned


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer like GPT-2's (Radford et al., 2019); id 0 is end-of-text, and any text can be encoded.

    texts       the training texts
    vocabulary  number of tokens
    context     maximum sequence length of the model, in tokens

    Raises InputError for a vocabulary that has no room for all 256 bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if vocabulary < LEAST_VOCABULARY:
        raise InputError(f"A vocabulary of {vocabulary} tokens has no room for all bytes.", f"Choose at least {LEAST_VOCABULARY}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT, unk_token=END_OF_TEXT, model_max_length=context,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def new_gpt2(
    tokenizer: PreTrainedTokenizerFast, *, layers: int, heads: int, width: int, context: int, tied: bool = True, seed: int = 0
) -> LanguageModel:
    """A GPT-2 with random fp32 weights for `tokenizer`, without dropout.

    Weights are initialized as in transformers, except that the projections into the residual stream are zero, so that each block starts
    as the identity (as in modded-nanogpt, https://github.com/KellerJordan/modded-nanogpt).

    tokenizer  gives the vocabulary size
    layers     number of blocks
    heads      attention heads per block
    width      size of the residual stream
    context    maximum sequence length, in tokens
    tied       whether the output layer shares the token embedding
    seed       of the random weights

    Raises InputError when the number of heads does not divide the width.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from nbtools.system import device

    if width % heads:
        raise InputError(f"A width of {width} cannot be shared by {heads} heads.", "Choose a number of heads that divides it.")
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=context, n_embd=width, n_layer=layers, n_head=heads, bos_token_id=0, eos_token_id=0,
        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, tie_word_embeddings=tied,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
    with torch.no_grad():
        blocks: Any = model.transformer.h
        for block in blocks:
            block.attn.c_proj.weight.zero_()
            block.mlp.c_proj.weight.zero_()
    model.config.loss_type = model.loss_type = "ForCausalLM"
    model.to(device())  # type: ignore[arg-type]
    return LanguageModel(model.eval(), tokenizer, "new GPT-2", "random weights")

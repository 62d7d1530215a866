"""Text sampled from a Llama-like model in large batches, for the corpus of a smaller model.

transformers' `generate` copies all keys and values at each token and computes rows that have ended. Here each row of the batch has its own
position in one cache that is allocated once, and a row that has ended is replaced by the next prompt.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from nbtools.accel.native import native_library

KERNEL_SIZE, KERNEL_SHARED = 64, 3  # head size, and heads per group, that `decode.cpp` is written for
REFILL = 1 / 16  # fraction of the rows that must have ended before new prompts are read: reading few at a time is slow


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. Top-k first, then the temperature."""

    temperature: tuple[float, float] = (0.7, 0.9)
    """Lowest and highest; each text has its own, uniform between them."""
    top_k: int = 64
    max_new_tokens: int = 320


@dataclass(frozen=True)
class Sample:
    """A sampled text."""

    index: int
    """Index of its prompt."""
    ids: list[int]
    """Tokens after the prompt, without the one that ended it."""
    ended: bool
    """Whether the model ended the text itself; else it was cut at `max_new_tokens`."""
    temperature: float


class BatchedLlama:
    """The forward pass of a `LlamaForCausalLM` with a key-value cache of `rows` rows of `length` positions.

    Raises ValueError for another architecture.
    """

    def __init__(self, model: Any, rows: int, length: int, dtype: torch.dtype = torch.bfloat16) -> None:
        config = model.config
        if config.model_type != "llama":
            raise ValueError(f"This is for Llama-like models, not for {config.model_type}.")
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.size, self.eps = config.hidden_size // self.heads, config.rms_norm_eps
        self.dtype, self.length = dtype, length
        self.embedding = model.model.embed_tokens.weight.detach().to(dtype)
        self.head = model.lm_head.weight.detach().to(dtype)
        self.norm = model.model.norm.weight.detach().to(dtype)
        self.layers = [self._weights(layer) for layer in model.model.layers]
        positions = torch.arange(length)[None]
        cos, sin = model.model.rotary_emb(torch.zeros(1, 1, self.size), positions)
        self.cos, self.sin = cos[0].to(dtype), sin[0].to(dtype)
        shape = (len(self.layers), rows, self.groups, length, self.size)
        self.keys, self.values = torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)
        fits = dtype == torch.bfloat16 and self.size == KERNEL_SIZE and self.heads == KERNEL_SHARED * self.groups
        self.kernel: Any = native_library("decode", Path(__file__).parent) if fits else None

    def _weights(self, layer: Any) -> dict[str, torch.Tensor]:
        attention, mlp = layer.self_attn, layer.mlp
        weights = {
            "qkv": torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]),
            "out": attention.o_proj.weight,
            "gate_up": torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
            "down": mlp.down_proj.weight,
            "norm_1": layer.input_layernorm.weight,
            "norm_2": layer.post_attention_layernorm.weight,
        }
        return {name: weight.detach().to(self.dtype) for name, weight in weights.items()}

    @torch.inference_mode()
    def logits(self, ids: torch.Tensor, starts: torch.Tensor, rows: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """The next-token logits of some rows after more tokens: float32 [rows, vocabulary].

        ids     int64 [rows, tokens], padded on the right
        starts  int64 [rows]: the position of the first of these tokens
        rows    int64 [rows]: which rows of the cache
        last    int64 [rows]: the index in `ids` of the token whose logits are wanted
        """
        count, width = ids.shape
        if width == 1 and self.kernel:
            return functional.linear(self._read_one(ids[:, 0], starts, rows), self.head).float()
        positions = starts[:, None] + torch.arange(width)
        used = int(positions.max()) + 1
        every = len(rows) == self.keys.shape[1]
        mask = (torch.arange(used) <= positions[..., None])[:, None]  # [rows, 1, tokens, used]
        per_group = self.heads // self.groups
        mask = mask.repeat(1, 1, per_group, 1)  # queries of a group stand one after the other
        bias = torch.zeros(mask.shape, dtype=self.dtype).masked_fill_(~mask, float("-inf"))
        cos, sin = self.cos[positions][:, :, None], self.sin[positions][:, :, None]
        states = self.embedding[ids]
        for index, layer in enumerate(self.layers):
            normed = functional.rms_norm(states, (states.shape[-1],), layer["norm_1"], self.eps)
            qkv = functional.linear(normed, layer["qkv"]).view(count, width, -1, self.size)
            query, key, value = qkv.split((self.heads, self.groups, self.groups), dim=2)
            query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
            self.keys[index][rows[:, None], :, positions] = key
            self.values[index][rows[:, None], :, positions] = value
            keys, values = (cache[index][:, :, :used] if every else cache[index][rows, :, :used] for cache in (self.keys, self.values))
            grouped = query.view(count, width, self.groups, per_group, self.size).permute(0, 2, 3, 1, 4)
            grouped = grouped.reshape(count, self.groups, per_group * width, self.size)
            mixed = functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=bias)
            mixed = mixed.view(count, self.groups, per_group, width, self.size).permute(0, 3, 1, 2, 4).reshape(count, width, -1)
            states = states + functional.linear(mixed, layer["out"])
            normed = functional.rms_norm(states, (states.shape[-1],), layer["norm_2"], self.eps)
            gate, up = functional.linear(normed, layer["gate_up"]).chunk(2, dim=-1)
            states = states + functional.linear(functional.silu(gate) * up, layer["down"])
        final = states[torch.arange(count), last]
        return functional.linear(functional.rms_norm(final, (final.shape[-1],), self.norm, self.eps), self.head).float()

    def _read_one(self, ids: torch.Tensor, starts: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The normalized final states, [rows, width], after one more token per row; between the matrix products by `decode.cpp`."""
        count, threads, starts, rows = len(ids), torch.get_num_threads(), starts.contiguous(), rows.contiguous()
        states, change = self.embedding[ids], None
        normed = torch.empty_like(states)
        mixed = torch.empty(count, self.heads * self.size, dtype=self.dtype)

        def add_and_norm(weight: torch.Tensor) -> None:
            tensors = _addresses(states, change, weight, normed)
            self.kernel.add_and_norm(*tensors, ctypes.c_float(self.eps), *states.shape, threads)

        for index, layer in enumerate(self.layers):
            add_and_norm(layer["norm_1"])
            qkv = functional.linear(normed, layer["qkv"])
            tensors = _addresses(qkv, self.cos, self.sin, self.keys[index], self.values[index], mixed, rows, starts)
            self.kernel.attend(*tensors, count, self.groups, ctypes.c_int64(self.length), threads)
            change = functional.linear(mixed, layer["out"])
            add_and_norm(layer["norm_2"])
            both = functional.linear(normed, layer["gate_up"])
            inner = torch.empty(count, both.shape[1] // 2, dtype=self.dtype)
            self.kernel.gate(*_addresses(both, inner), *inner.shape, threads)
            change = functional.linear(inner, layer["down"])
        add_and_norm(self.norm)
        return normed


def _addresses(*tensors: torch.Tensor | None) -> list[ctypes.c_void_p | None]:
    return [None if tensor is None else ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _rotate(values: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding (Su et al., 2021, arXiv:2104.09864), in the order of dimensions that transformers uses."""
    half = values.shape[-1] // 2
    turned = torch.cat((-values[..., half:], values[..., :half]), dim=-1)
    return values * cos + turned * sin


class Batch:
    """The rows that are being sampled, and the prompts that wait."""

    def __init__(self, llama: BatchedLlama, prompts: Sequence[list[int]], ends: Sequence[int], sampling: Sampling, seed: int) -> None:
        self.llama, self.prompts, self.ends, self.sampling = llama, prompts, frozenset(ends), sampling
        if (longest := max(map(len, prompts)) + sampling.max_new_tokens) > llama.length:
            raise ValueError(f"Texts can have {longest} tokens, and the cache has {llama.length} positions.")
        self.generator = torch.Generator().manual_seed(seed)
        low, high = sampling.temperature
        self.temperatures = low + (high - low) * torch.rand(len(prompts), generator=self.generator)
        self.waiting = list(range(len(prompts)))[::-1]
        self.size = llama.keys.shape[1]
        self.texts: dict[int, list[int]] = {}  # of the active rows: the tokens after the prompt
        self.prompt_of = [0] * self.size
        self.position = torch.zeros(self.size, dtype=torch.long)  # where the row's newest token belongs in the cache
        self.token = torch.zeros(self.size, dtype=torch.long)

    def fill(self) -> list[int]:
        """Read prompts into the free rows and draw their first tokens. Returns those rows."""
        rows = [row for row in range(self.size) if row not in self.texts][: len(self.waiting)]
        for row in rows:
            self.prompt_of[row], self.texts[row] = self.waiting.pop(), []
        prompts = [self.prompts[self.prompt_of[row]] for row in rows]
        width = max(map(len, prompts))
        ids = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts])
        lengths, index = torch.tensor([len(prompt) for prompt in prompts]), torch.tensor(rows)
        logits = self.llama.logits(ids, torch.zeros_like(lengths), index, lengths - 1)
        self.position[index], self.token[index] = lengths, self.draw(logits, rows)
        return rows

    def step(self) -> list[int]:
        """Draw the next token of all active rows. Returns those rows.

        A few idle rows are computed as well, because the cache is then read where it is; for some rows of it, their part is copied.
        """
        active = sorted(self.texts)
        rows = list(range(self.size)) if self.waiting or 2 * len(active) > self.size else active
        index = torch.tensor(rows)
        logits = self.llama.logits(self.token[index, None], self.position[index], index, torch.zeros_like(index))
        self.position[active] += 1
        self.token[index] = self.draw(logits, rows)
        return active

    def draw(self, logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
        """One token per row, int64 [rows]."""
        values, indices = logits.topk(self.sampling.top_k, dim=-1)
        temperatures = self.temperatures[[self.prompt_of[row] for row in rows]]
        probabilities = (values / temperatures[:, None]).softmax(dim=-1)
        return indices.gather(1, torch.multinomial(probabilities, 1, generator=self.generator))[:, 0]

    def ended(self, rows: list[int]) -> Iterator[Sample]:
        """Append the drawn tokens of `rows`, and yield the texts that end with them."""
        for row, token in zip(rows, self.token[rows].tolist(), strict=True):
            ids, index = self.texts[row], self.prompt_of[row]
            stopped = token in self.ends
            if not stopped:
                ids.append(token)
            if stopped or len(ids) >= self.sampling.max_new_tokens:
                del self.texts[row]
                self.position[row] = 0
                yield Sample(index, ids, stopped, round(float(self.temperatures[index]), 3))


def sample_texts(llama: BatchedLlama, prompts: Sequence[list[int]], ends: Sequence[int], sampling: Sampling, seed: int) -> Iterator[Sample]:
    """Continue every prompt; texts come as they end, so not in the order of the prompts.

    prompts  token ids
    ends     tokens that end a text
    seed     of the draws and the temperatures: the same arguments give the same texts on the same machine

    Raises ValueError where a prompt and `max_new_tokens` are longer than the cache.
    """
    batch = Batch(llama, prompts, ends, sampling, seed)
    while batch.waiting or batch.texts:
        free = batch.size - len(batch.texts)
        refill = batch.waiting and free >= min(max(1, REFILL * batch.size), len(batch.waiting))
        yield from batch.ended(batch.fill() if refill else batch.step())

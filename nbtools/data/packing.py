"""Tokenize texts, with a cache, and pack them into blocks of equal length without padding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtools.errors import InputError
from nbtools.storage import atomic_folder, cached
from nbtools.system import progress
from nbtools.texts import check_texts, say
from nbtools.tokens import control_tokens_in
from nbtools.values import CHECKS

if TYPE_CHECKING:
    from datasets import Dataset

    from nbtools.models import LanguageModel


IGNORED = -100  # the label that the loss ignores


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts, without special tokens. Text i is ids[starts[i]:starts[i + 1]]."""

    ids: np.ndarray
    """int32 [tokens], all texts concatenated."""
    starts: np.ndarray
    """int64 [texts + 1], the index at which each text starts, and the number of tokens."""

    def __post_init__(self) -> None:
        if self.starts[0] != 0 or self.starts[-1] != len(self.ids):
            raise ValueError("starts must run from 0 to the number of ids")

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.starts[index] : self.starts[index + 1]]


@dataclass
class Packed:
    """Blocks of `block_size` tokens, usable as a torch Dataset; an item holds keyword arguments of a causal model's forward method."""

    input_ids: np.ndarray
    """int32 [blocks, block_size]."""
    position_ids: np.ndarray
    """int32 [blocks, block_size]; 0 at the start of a document and at the start of a block."""
    document_ids: np.ndarray
    """int32 [blocks, block_size]; index of the text that a token belongs to."""
    counts: dict[str, int]
    """Reviews, tokens and blocks; reviews cut by a block edge, tokens after the cut, and tokens left over."""

    @property
    def block_size(self) -> int:
        return self.input_ids.shape[1]

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        import torch

        ids = torch.from_numpy(self.input_ids[index].astype(np.int64))
        # The model shifts the labels itself: label t is compared with the prediction made at t - 1. Nothing predicts the first token of a
        # block; ignored, it is also left out of the number of tokens by which Trainer divides the loss.
        labels = ids.clone()
        labels[0] = IGNORED
        return {"input_ids": ids, "labels": labels, "position_ids": torch.from_numpy(self.position_ids[index].astype(np.int64))}

    def __repr__(self) -> str:
        c = self.counts
        return (
            f"{c['reviews']:,} reviews = {c['tokens']:,} tokens in {c['blocks']:,} blocks of {self.block_size}, none of them padding\n"
            f"  block edges cut {c['cut_reviews']:,} reviews: {c['tokens_after_cut']:,} tokens are learned without the review's beginning\n"
            f"  left over at the end: {c['left_over']:,} tokens that fill no block"
        )


def tokenize(texts: Dataset | Iterable[str], lm: LanguageModel, label: str = "tokenizing", *, control_tokens: bool = False) -> Tokens:
    """Tokenize `texts`, or load the ids from the cache if the same texts were tokenized with the same tokenizer before.

    texts           a collection of strings, or a data set with a column `text`
    lm              the model whose tokenizer is used
    label           label of the progress bar
    control_tokens  how a control token spelled out in a text, such as `<|endoftext|>`, is read. False: as plain text, with a note, because
                    as a control token it would end the document. True: as the control token, which text from a chat template needs

    Raises InputError for anything but a collection of strings.
    """
    texts = check_texts(texts)
    if not control_tokens and (spelled := control_tokens_in(lm.tokenizer, texts)):
        counted = ", ".join(f"{token} in {count:,}" for token, count in list(spelled.items())[:3])
        say(f"texts that spell out control tokens: {counted}. Read as plain text; control_tokens=True reads them as control tokens.")
    folder = cached("tokens", _cache_key(texts, lm, control_tokens))
    if (folder / "starts.npy").is_file():
        return Tokens(np.load(folder / "ids.npy", mmap_mode="r"), np.load(folder / "starts.npy"))
    pieces: list[np.ndarray] = []
    for start in progress(range(0, len(texts), 256), label, unit="x256 texts"):
        batch = lm.tokenizer(
            texts[start : start + 256],
            add_special_tokens=False,
            split_special_tokens=not control_tokens,
            return_attention_mask=False,
            verbose=False,
        )
        pieces += [np.asarray(ids, dtype=np.int32) for ids in batch["input_ids"]]
    starts = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    tokens = Tokens(np.concatenate(pieces) if pieces else np.zeros(0, np.int32), starts)
    with atomic_folder(folder) as temporary:
        np.save(temporary / "ids.npy", tokens.ids)
        np.save(temporary / "starts.npy", tokens.starts)
    return tokens


def pack(part: Dataset | Sequence[str], lm: LanguageModel, block_size: int | None = None, *, control_tokens: bool = False) -> Packed:
    """Pack texts, in their order, into blocks of `block_size` tokens.

    part            a collection of strings, or a data set with a column `text`
    lm              the model that the blocks are for
    block_size      tokens per block; None: the profile's value
    control_tokens  how control tokens spelled out in a text are read, see `tokenize`

    Each document starts with the end-of-text token at position 0: its first word is predicted from end-of-text alone, and the last word
    of the previous document learns to predict end-of-text. Documents in a block must not attend to each other; transformers separates
    them by their restarting positions if the model is called with `use_cache=False` and without an attention mask. A document cut by a
    block edge continues in the next block, at position 0 and without its beginning.

    Raises InputError if the block is longer than the model's context or the texts do not fill one block.
    """
    block_size = min(lm.defaults.block_size, lm.context) if block_size is None else CHECKS["block_size"]("block_size", block_size)
    if not 2 <= block_size <= lm.context:
        raise InputError(f"block_size is {block_size}, but {lm.name} reads 2 to {lm.context} tokens.", f"Choose up to {lm.context}.")
    texts = check_texts(part)
    tokens = tokenize(texts, lm, control_tokens=control_tokens)
    lengths = np.diff(tokens.starts) + 1
    total = int(lengths.sum())
    blocks = total // block_size
    if blocks == 0:
        problem = f"{len(texts)} texts hold {total} tokens: less than a block of {block_size}."
        raise InputError(problem, "Give more texts or smaller blocks.")
    ends = np.cumsum(lengths)
    begins = ends - lengths
    ids = np.insert(tokens.ids, tokens.starts[:-1], lm.document_id)
    documents = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    index = np.arange(total, dtype=np.int64)
    edges = index - index % block_size
    used = blocks * block_size
    positions = (index - np.maximum(begins[documents], edges)).astype(np.int32)
    cut = (begins < used) & (begins // block_size != (np.minimum(ends, used) - 1) // block_size)
    counts = {
        "reviews": len(texts),
        "tokens": total,
        "blocks": blocks,
        "cut_reviews": int(cut.sum()),
        "tokens_after_cut": int((begins[documents[:used]] < edges[:used]).sum()),
        "left_over": total - used,
    }
    shape = (blocks, block_size)
    return Packed(ids[:used].reshape(shape), positions[:used].reshape(shape), documents[:used].reshape(shape), counts)


def _cache_key(texts: list[str], lm: LanguageModel, control_tokens: bool) -> str:
    digest = hashlib.blake2b(b"control tokens" if control_tokens else b"plain text", digest_size=16)
    backend = getattr(lm.tokenizer, "backend_tokenizer", None)
    digest.update(backend.to_str().encode() if backend is not None else f"{lm.name}{lm.tokenizer!r}".encode())
    for text in texts:
        raw = text.encode()
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()

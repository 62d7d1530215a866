"""The exercises of notebook 04: the shift of the labels, what padding and end-of-text share, perplexity, bits per byte."""

from __future__ import annotations

from typing import Any

from nbtools.exercises.framework import WrongAnswer
from nbtools.exercises.trials import function_exercise


def _logits_and_ids() -> list[tuple[Any, ...]]:
    import torch

    stream = torch.Generator().manual_seed(0)
    return [(torch.randn(size, 7, generator=stream), torch.randint(0, 7, (size,), generator=stream)) for size in (4, 9)]


def _padded_rows() -> list[tuple[Any, ...]]:
    import torch

    # 0 is end-of-text and padding at once, as in GPT-2.
    return [
        (torch.tensor([5, 6, 7, 0, 0, 0]), torch.tensor([1, 1, 1, 1, 0, 0])),
        (torch.tensor([0, 3, 0, 4, 0]), torch.tensor([1, 1, 1, 1, 0])),
    ]


SHIFT = function_exercise(
    id="04-shift",
    title="The loss, by hand",
    minutes=8,
    difficulty=2,
    task=(
        "Given `logits` of shape `[tokens, vocabulary]` and `ids` of shape `[tokens]`, return the mean cross-entropy in nats of "
        "predicting each next token. `torch.nn.functional.cross_entropy(rows, wanted)` does one row at a time; you choose the rows."
    ),
    hints=(
        "The logits in row t are the model's opinion about one token. Which one: the token at t, or the one after it?",
        "Row t predicts token t + 1. So the last row predicts a token that we do not have, and the first token is predicted by no row.",
        "Pair `logits[:-1]` with `ids[1:]`.",
    ),
    trials=_logits_and_ids,
    praise="One shift, no more: that is what the model does inside when it is given labels equal to its input.",
    solution="def next_token_loss(logits, ids):\n    return torch.nn.functional.cross_entropy(logits[:-1], ids[1:])",
    wrong=(
        WrongAnswer(
            "def next_token_loss(logits, ids):\n    return torch.nn.functional.cross_entropy(logits, ids)",
            "Without a shift the model is asked for the token that it is looking at: it learns to copy its input.",
        ),
        WrongAnswer(
            "def next_token_loss(logits, ids):\n    return torch.nn.functional.cross_entropy(logits[:-2], ids[2:])",
            "That is shifted twice: row t is compared with the token two positions later. Shifting labels yourself and passing them to the "
            "model does just this.",
        ),
        WrongAnswer(
            "def next_token_loss(logits, ids):\n    return torch.nn.functional.cross_entropy(logits[1:], ids[:-1])",
            "That is shifted the wrong way: row t is compared with the token before it, which the model has already read.",
        ),
    ),
)

LABELS = function_exercise(
    id="04-labels",
    title="Padding that is also end-of-text",
    minutes=6,
    difficulty=2,
    task=(
        "GPT-2 has no padding token, so end-of-text (id 0 here) pads as well. Given `ids` and `attention_mask` (1 for real tokens, 0 for "
        "padding), return the labels: a copy of `ids` with -100, which the loss leaves out, where nothing should be learned."
    ),
    hints=(
        "Which of the two tensors knows whether a 0 is the review's end or only padding?",
        "The id cannot tell them apart: the mask can. Everything that the mask calls real should be learned, end-of-text too.",
        "`ids.masked_fill(attention_mask == 0, -100)`",
    ),
    trials=_padded_rows,
    praise="The real end-of-text stays: without it the model never learns to stop.",
    solution="def labels_for(ids, attention_mask):\n    return ids.masked_fill(attention_mask == 0, -100)",
    wrong=(
        WrongAnswer(
            "def labels_for(ids, attention_mask):\n    return ids.masked_fill(ids == 0, -100)",
            "Masking by id drops the real end-of-text with the padding, so the model unlearns how to end a review.",
        ),
        WrongAnswer(
            "def labels_for(ids, attention_mask):\n    return ids.clone()",
            "Nothing is masked, so the padding is learned: the model gets very good at predicting padding after padding.",
        ),
        WrongAnswer(
            "def labels_for(ids, attention_mask):\n    return ids.masked_fill(attention_mask == 1, -100)",
            "The mask is read the wrong way round: the review is left out and the padding is learned.",
        ),
    ),
)

PERPLEXITY = function_exercise(
    id="04-perplexity",
    title="Perplexity of a corpus",
    minutes=5,
    difficulty=1,
    task=(
        "`nlls` lists each review's total negative log-likelihood in nats, `tokens` each review's number of tokens. "
        "Return the perplexity of all reviews together."
    ),
    hints=(
        "Perplexity is exp of the mean negative log-likelihood per token. Over which tokens is that mean taken?",
        "Over all tokens of all reviews: a long review has more of them and counts for more.",
        "Divide the sum of `nlls` by the sum of `tokens`, then take exp.",
    ),
    trials=lambda: [([300.0, 4.0, 90.0], [100, 2, 60]), ([10.0, 1000.0], [1, 500])],
    praise="Sums first, one division, one exp: the figure does not depend on how reviews are cut into batches.",
    solution="def corpus_perplexity(nlls, tokens):\n    return math.exp(sum(nlls) / sum(tokens))",
    wrong=(
        WrongAnswer(
            "def corpus_perplexity(nlls, tokens):\n    return sum(math.exp(n / t) for n, t in zip(nlls, tokens)) / len(nlls)",
            "That is the mean of the reviews' perplexities: one short, unusual review can dominate it.",
        ),
        WrongAnswer(
            "def corpus_perplexity(nlls, tokens):\n    return math.exp(sum(n / t for n, t in zip(nlls, tokens)) / len(nlls))",
            "That is exp of a mean of means: each review counts the same, however short. exp of Trainer's eval_loss has this fault when "
            "batches are padded.",
        ),
        WrongAnswer(
            "def corpus_perplexity(nlls, tokens):\n    return sum(nlls) / sum(tokens)",
            "That is the loss in nats per token; perplexity is exp of it.",
        ),
    ),
)

BITS = function_exercise(
    id="04-bits",
    title="Bits per byte",
    minutes=4,
    difficulty=1,
    task="Given `nll`, the total negative log-likelihood of `text` in nats, return bits per byte of its UTF-8 form.",
    hints=(
        "How many bits is one nat? And how long is “é” in UTF-8?",
        "One nat is 1 / ln 2 bits. `len(text)` counts characters; `text.encode()` gives the bytes.",
        "`nll / math.log(2) / len(text.encode())`",
    ),
    trials=lambda: [(20.0, "a film"), (55.0, "Amélie était formidable – 10/10 ★")],
    praise="No token is mentioned, so models with different tokenizers can be compared.",
    solution="def bits_per_byte(nll, text):\n    return nll / math.log(2) / len(text.encode())",
    wrong=(
        WrongAnswer(
            "def bits_per_byte(nll, text):\n    return nll / math.log(2) / len(text)",
            "That is bits per character: letters such as é take more than one byte.",
        ),
        WrongAnswer(
            "def bits_per_byte(nll, text):\n    return nll / len(text.encode())",
            "That is nats per byte: a nat is about 1.44 bits.",
        ),
        WrongAnswer(
            "def bits_per_byte(nll, text):\n    return nll * math.log(2) / len(text.encode())",
            "The change of base goes the other way: divide by ln 2.",
        ),
    ),
)

EXERCISES = (SHIFT, LABELS, PERPLEXITY, BITS)

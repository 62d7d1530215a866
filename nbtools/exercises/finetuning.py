"""The exercises of notebook 04: the shift of the labels, what padding and end-of-text share, perplexity, bits per byte."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

EXERCISES = (
    function_exercise(
        "04-step",
        "A step of the optimizer",
        hints=(
            "First update the two running means with the gradient; the new weight is computed from the updated ones.",
            "At step 1 the means hold a tenth and a thousandth of the gradient only: divide them by `1 - 0.9**step` and `1 - 0.999**step`.",
            "The weight moves by `-learning_rate * m / (v**0.5 + 1e-8)`, with the two corrected means m and v.",
        ),
        signature="adam_step(weight, gradient, mean, square, step, learning_rate)",
        solution="""
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
            return weight - learning_rate * unbiased[0] / (unbiased[1] ** 0.5 + 1e-8), mean, square
        """,
        wrong={
            """
                mean = 0.9 * mean + 0.1 * gradient
                square = 0.999 * square + 0.001 * gradient**2
                unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
                return weight + learning_rate * unbiased[0] / (unbiased[1] ** 0.5 + 1e-8), mean, square
            """: ("The gradient points to where the loss grows: the weight moves the other way."),
            """
                mean = 0.9 * mean + 0.1 * gradient
                square = 0.999 * square + 0.001 * gradient**2
                unbiased = mean, square
                return weight - learning_rate * unbiased[0] / (unbiased[1] ** 0.5 + 1e-8), mean, square
            """: ("The running means begin at zero, so the first ones are too small: divide by 1 - 0.9**step and 1 - 0.999**step."),
            """
                mean = 0.9 * mean + 0.1 * gradient
                square = 0.999 * square + 0.001 * gradient**2
                unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
                return weight - learning_rate * unbiased[0] / (unbiased[1] + 1e-8), mean, square
            """: ("The mean of the squared gradients is in squared units: take its root before dividing."),
            """
                mean = gradient
                square = 0.999 * square + 0.001 * gradient**2
                unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
                return weight - learning_rate * unbiased[0] / (unbiased[1] ** 0.5 + 1e-8), mean, square
            """: ("That forgets the earlier gradients: the first running mean keeps nine tenths of its old value."),
            """
                mean = 0.9 * mean + 0.1 * gradient
                square = 0.999 * square + 0.001 * gradient
                unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
                return weight - learning_rate * unbiased[0] / (unbiased[1] ** 0.5 + 1e-8), mean, square
            """: ("The second running mean is that of the squared gradients."),
            """
                mean = 0.9 * mean + 0.1 * gradient
                square = 0.999 * square + 0.001 * gradient**2
                unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
                return weight - learning_rate * unbiased[0] / (unbiased[1] + 1e-8) ** 0.5, mean, square
            """: ("The 1e-8 is added to the root, not under it."),
            """
                mean, square = mean / (1 - 0.9**step), square / (1 - 0.999**step)
                new = weight - learning_rate * mean / (square**0.5 + 1e-8)
                return new, 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            """: "The weight moved before the new gradient was used: update both running means first.",
        },
        trials=[
            (1.0, 0.5, 0.0, 0.0, 1, 0.1),
            (-2.0, 0.001, 0.05, 0.004, 3, 0.01),
            (0.3, -4.0, 0.5, 0.2, 10, 0.001),
            (0.0, 1e-6, 0.0, 0.0, 1, 1.0),
        ],
        praise="`optimizer.step()` does this for every weight (Adam; AdamW also pulls each weight a little towards zero).",
    ),
    function_exercise(
        "04-shift",
        "The loss, by hand",
        hints=(
            "The logits in row t are the model's opinion about one token. Which one: the token at t, or the one after it?",
            "Row t predicts token t + 1. So the last row predicts a token that we do not have, and the first token is predicted by no row.",
            "Pair `logits[:-1]` with `ids[1:]`.",
        ),
        signature="next_token_loss(logits, ids)",
        solution="torch.nn.functional.cross_entropy(logits[:-1], ids[1:])",
        wrong={
            "torch.nn.functional.cross_entropy(logits, ids)": (
                "Without a shift the model is asked for the token that it is looking at: it learns to copy its input."
            ),
            "torch.nn.functional.cross_entropy(logits[:-2], ids[2:])": (
                "That is shifted twice: row t is compared with the token two positions later. Shifting labels yourself and passing them "
                "to the model does just this."
            ),
            "torch.nn.functional.cross_entropy(logits[1:], ids[:-1])": (
                "That is shifted the wrong way: row t is compared with the token before it, which the model has already read."
            ),
        },
        trials=[
            ([[2.0, 0.5, -1.0], [0.0, 3.0, 1.0], [1.0, -2.0, 0.5], [-1.0, 1.0, 2.5]], [0, 1, 2, 0]),
            (
                [[0.1, 1.2, -0.4, 2.0], [1.5, 0.3, 0.0, -1.0], [-0.7, 0.2, 2.2, 0.9], [0.4, -1.3, 0.6, 1.1], [3.0, 0.0, 1.0, 2.0]],
                [3, 1, 0, 2, 1],
            ),
        ],
        tensors=True,
        praise="One shift, no more: that is what the model does inside when it is given labels equal to its input.",
    ),
    function_exercise(
        "04-labels",
        "Padding that is also end-of-text",
        hints=(
            "Which of the two tensors knows whether a 0 is the review's end or only padding?",
            "The id cannot tell them apart: the mask can. Everything that the mask calls real should be learned, end-of-text too.",
            "`ids.masked_fill(attention_mask == 0, -100)`",
        ),
        signature="labels_for(ids, attention_mask)",
        solution="ids.masked_fill(attention_mask == 0, -100)",
        wrong={
            "ids.masked_fill(ids == 0, -100)": (
                "Masking by id drops the real end-of-text with the padding, so the model unlearns how to end a review."
            ),
            "ids.clone()": "Nothing is masked, so the padding is learned: the model gets very good at predicting padding after padding.",
            "ids.masked_fill(attention_mask == 1, -100)": (
                "The mask is read the wrong way round: the review is left out and the padding is learned."
            ),
        },
        trials=[([5, 6, 7, 0, 0, 0], [1, 1, 1, 1, 0, 0]), ([0, 3, 0, 4, 0], [1, 1, 1, 1, 0])],
        tensors=True,
        praise="The real end-of-text stays: without it the model never learns to stop.",
    ),
    function_exercise(
        "04-perplexity",
        "Perplexity of a corpus",
        hints=(
            "Perplexity is exp of the mean negative log-likelihood per token. Over which tokens is that mean taken?",
            "Over all tokens of all reviews: a long review has more of them and counts for more.",
            "Divide the sum of `nlls` by the sum of `tokens`, then take exp.",
        ),
        signature="corpus_perplexity(nlls, tokens)",
        solution="math.exp(sum(nlls) / sum(tokens))",
        wrong={
            "sum(math.exp(n / t) for n, t in zip(nlls, tokens)) / len(nlls)": (
                "That is the mean of the reviews' perplexities: one short, unusual review can dominate it."
            ),
            "math.exp(sum(n / t for n, t in zip(nlls, tokens)) / len(nlls))": (
                "That is exp of a mean of means: each review counts the same, however short. exp of Trainer's eval_loss has this fault "
                "when batches are padded."
            ),
            "sum(nlls) / sum(tokens)": "That is the loss in nats per token; perplexity is exp of it.",
        },
        trials=[([300.0, 4.0, 90.0], [100, 2, 60]), ([10.0, 1000.0], [1, 500])],
        praise="Sums first, one division, one exp: the figure does not depend on how reviews are cut into batches.",
    ),
    function_exercise(
        "04-bits",
        "Bits per byte",
        hints=(
            "How many bits is one nat? And how long is “é” in UTF-8?",
            "One nat is 1 / ln 2 bits. `len(text)` counts characters; `text.encode()` gives the bytes.",
            "`nll / math.log(2) / len(text.encode())`",
        ),
        signature="bits_per_byte(nll, text)",
        solution="nll / math.log(2) / len(text.encode())",
        wrong={
            "nll / math.log(2) / len(text)": "That is bits per character: letters such as é take more than one byte.",
            "nll / len(text.encode())": "That is nats per byte: a nat is about 1.44 bits.",
            "nll * math.log(2) / len(text.encode())": "The change of base goes the other way: divide by ln 2.",
        },
        trials=[(20.0, "a film"), (55.0, "Amélie était formidable – 10/10 ★")],
        praise="No token is mentioned, so models with different tokenizers can be compared.",
    ),
)

"""The exercises of 02_loading: counting a block's parameters, reading the next token, and the tied output layer."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

EXERCISES = (
    function_exercise(
        "02-block",
        "Count one block",
        hints=(
            "A `Conv1D(nf, nx)` has nx * nf weights and nf biases; a `LayerNorm` has a scale and a shift of width d.",
            "Attention: c_attn goes from d to 3d, c_proj from d to d. Feed-forward: c_fc goes from d to 4d, c_proj back. Two norms.",
            "The sum is 12 d² + 13 d.",
        ),
        signature="block_parameters(d)",
        solution="""
            attention = (d * 3 * d + 3 * d) + (d * d + d)        # c_attn, c_proj: weights and biases
            feed_forward = (d * 4 * d + 4 * d) + (4 * d * d + d)  # c_fc, c_proj
            norms = 2 * (d + d)                                  # ln_1, ln_2: a scale and a shift each
            return attention + feed_forward + norms
        """,
        wrong={
            "12 * d * d": "Those are the four matrices alone: each has a bias, and the two layer norms a scale and a shift.",
            "12 * d * d + 9 * d": "The layer norms are missing: two of them, each with a scale and a shift of width d.",
            "4 * d * d + 8 * d": "The feed-forward part is missing, and two thirds of a block lie there.",
            "10 * d * d + 11 * d": "c_attn makes queries, keys and values in one product: its output is 3d wide, not d.",
            "12 * d * d + 12 * d": (
                "One vector of width d is missing: every Conv1D has a bias as wide as its output, and every norm two vectors."
            ),
        },
        trials=[(256,), (768,), (10,)],
        tolerance=0.0,
        praise="12 d² + 13 d: twice the width, four times the weights. Twelve such blocks are two thirds of GPT-2 small.",
    ),
    function_exercise(
        "02-next",
        "The next token from logits",
        hints=(
            "Each position holds the logits of the token after it. Which position is followed by the text's continuation?",
            "The last position, and there the index of the largest logit. The softmax keeps the order, so it is not needed.",
            "`int(logits[0, -1].argmax())`",
        ),
        signature="next_token_id(logits)",
        solution="int(logits[0, -1].argmax())",
        wrong={
            "int(logits[0, 0].argmax())": "The first position predicts the second token of the text, which is known already.",
            "int(logits.argmax())": (
                "That is the largest logit of all positions, counted through the flattened array: look at the last position alone."
            ),
            "int(logits[0, -1].max())": "`max` is the logit itself; the id is its index, which `argmax` gives.",
            "int(logits[0, -2].argmax())": "Position -2 predicts the last token of the text, not the one after it.",
        },
        trials=[  # each likely mistake gives a different id
            ([[[0.0, 9.0, 1.0, 0.5], [8.0, 0.0, 2.0, 1.0], [0.0, 1.0, 2.0, 6.0]]],),
            ([[[1.0, 0.0, 7.0, 2.0, 0.0], [3.0, 2.5, 0.0, 9.0, 1.0], [0.0, 4.0, 1.0, 2.0, 3.0]]],),
        ],
        tensors=True,
        tolerance=0.0,
        praise="The last position predicts what follows, and its largest logit is the likeliest token: greedy decoding repeats that line.",
    ),
    function_exercise(
        "02-tied",
        "One matrix at both ends",
        hints=(
            "The logit of a token is the dot product of the hidden state and that token's embedding.",
            "A dot product of every row with every row is a matrix product with a transposed matrix.",
            "`hidden @ embedding.T`",
        ),
        signature="tied_logits(hidden, embedding)",
        solution="hidden @ embedding.T",
        wrong={
            "hidden @ embedding": "The embedding must be transposed: [tokens, d] times [d, vocabulary].",
            "embedding @ hidden.T": "That is [vocabulary, tokens]: rows and columns are swapped.",
            "(hidden @ embedding.T).softmax(-1)": "Those are probabilities already: logits come before the softmax.",
        },
        trials=[
            ([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]], [[1.0, 0.5], [-2.0, 3.0]]),  # square: without the transpose only the values are wrong
            ([[1.0, 0.0, 2.0], [-1.0, 3.0, 0.5]], [[2.0, 1.0, 0.0], [0.0, -1.0, 1.5], [1.0, 1.0, 1.0], [-0.5, 2.0, 3.0]]),
        ],
        tensors=True,
        praise="A logit is a dot product: a token scores high where the hidden state points in the direction of its embedding.",
    ),
    function_exercise(
        "02-crumbs",
        "How finely is it cut?",
        hints=(
            "How many bytes does the text have? That is not its number of characters.",
            '`len(text.encode("utf8"))` counts bytes.',
            '`len(text.encode("utf8")) / count`',
        ),
        signature="bytes_per_token(text, count)",
        solution='len(text.encode("utf8")) / count',
        wrong={
            "len(text) / count": "That counts characters: é has two bytes in UTF-8, 日 has three.",
            'count / len(text.encode("utf8"))': "That is tokens per byte, the other way round.",
        },
        trials=[("The film was good.", 5), ("café", 2), ("日本", 6)],
        praise="A low number means long sequences, slow training, and a model that sees crumbs.",
    ),
)

"""The exercises of 02_loading: a merge of byte-pair encoding, a layer norm, a block's parameters, and reading the next token."""

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
        "02-merge",
        "One merge of byte-pair encoding",
        hints=(
            "Walk through the pieces from left to right. When do two of them become one?",
            "A `while` loop with an index: after a merge it moves on by two, else by one.",
            "`if (pieces[i], pieces[i + 1]) == pair: merged.append(pieces[i] + pieces[i + 1]); i += 2`, as long as there is a next piece.",
        ),
        signature="merge(pieces, pair)",
        solution="""
            merged, i = [], 0
            while i < len(pieces):
                if tuple(pieces[i : i + 2]) == pair:
                    merged.append(pieces[i] + pieces[i + 1])
                    i += 2
                else:
                    merged.append(pieces[i])
                    i += 1
            return merged
        """,
        wrong={
            """
                i = [tuple(two) for two in zip(pieces, pieces[1:])].index(pair) if pair in list(zip(pieces, pieces[1:])) else len(pieces)
                return pieces[:i] + ["".join(pair)] * (i < len(pieces)) + pieces[i + 2 :]
            """: "Only the first occurrence was merged: a merge applies wherever the pair stands.",
            """
                joined, first, second = "\\0".join(pieces), *pair
                return joined.replace(f"{first}\\0{second}", first + second).split("\\0")
            """: "A pair was found inside larger pieces: only complete pieces can be merged.",
            """
                merged = []
                for i in range(len(pieces)):
                    if tuple(pieces[i : i + 2]) == pair:
                        merged.append(pieces[i] + pieces[i + 1])
                    else:
                        merged.append(pieces[i])
                return merged
            """: "The second piece of a merged pair was kept as well: after a merge, go on behind it.",
        },
        trials=[
            (["l", "o", "w", "e", "r"], ("l", "o")),
            (["b", "a", "n", "a", "n", "a"], ("a", "n")),
            (["a", "a", "a"], ("a", "a")),
            (["lo", "w"], ("o", "w")),
            (["x"], ("x", "y")),
        ],
        praise="A tokenizer is this function, applied for each merge of its list in order.",
    ),
    function_exercise(
        "02-layer-norm",
        "A layer norm",
        hints=(
            "Mean and variance are taken over the last axis, for each token by itself.",
            "The variance divides by the number of columns, and eps is added to it before the root.",
            "`(x - mean) / torch.sqrt(((x - mean) ** 2).mean(dim=-1, keepdim=True) + eps) * weight + bias`",
        ),
        signature="layer_norm(x, weight, bias, eps)",
        solution="""
            mean = x.mean(dim=-1, keepdim=True)
            variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
            return (x - mean) / torch.sqrt(variance + eps) * weight + bias
        """,
        wrong={
            "(x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + eps) * weight + bias": (
                "`var` divides by one less than the number of columns; the layer divides by the number: unbiased=False."
            ),
            "(x - x.mean(0, keepdim=True)) / torch.sqrt(x.var(0, keepdim=True, unbiased=False) + eps) * weight + bias": (
                "The mean ran over the tokens: each token is normalized by itself, over its columns."
            ),
            "(x - x.mean()) / torch.sqrt(x.var(unbiased=False) + eps) * weight + bias": (
                "One mean for all tokens: each token has its own, over the last axis."
            ),
            "(x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + eps)": (
                "The learned scale and shift are missing: times `weight`, plus `bias`."
            ),
            "x / torch.sqrt((x ** 2).mean(-1, keepdim=True) + eps) * weight + bias": (
                "That is RMSNorm, which Llama uses: it does not subtract the mean."
            ),
            "(x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, unbiased=False) + eps) * weight + bias": (
                "eps belongs to the variance, under the root."
            ),
        },
        trials=[
            ([[1.0, 2.0, 3.0, 6.0], [0.1, 0.1, 0.1, 0.5], [-4.0, 0.0, 4.0, 8.0]], [1.0, 2.0, 0.5, 1.0], [0.0, 0.5, -1.0, 0.2], 0.01),
            ([[3.0, 3.0]], [1.0, 1.0], [0.25, -0.25], 1e-5),
        ],
        tensors=True,
        avoid=dict.fromkeys(("layer_norm", "LayerNorm"), "That calls PyTorch's own. Write it with mean, square root and arithmetic."),
        praise="Two of these are in every block of GPT-2, and one before its head.",
    ),
)

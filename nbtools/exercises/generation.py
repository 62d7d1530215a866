"""The exercises of 03_generation: temperature, the nucleus, and which positions are padding."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

EXERCISES = (
    function_exercise(
        "03-temperature",
        "Temperature",
        hints=(
            "At a low temperature the likeliest token should gain. Does that need larger or smaller differences between logits?",
            "Scale the logits first and take the softmax afterwards.",
            "`torch.softmax(logits / temperature, dim=-1)`",
        ),
        signature="with_temperature(logits, temperature)",
        solution="torch.softmax(logits / temperature, dim=-1)",
        wrong={
            "torch.softmax(logits * temperature, dim=-1)": (
                "The temperature divides: with `*` a low temperature flattens where it should sharpen."
            ),
            "torch.softmax(logits, dim=-1) / temperature": (
                "Divided after the softmax, the numbers no longer sum to 1: the logits are divided, then comes the softmax."
            ),
            """
                scaled = torch.softmax(logits, dim=-1) / temperature
                return scaled / scaled.sum()
            """: "Dividing probabilities and making them sum to 1 again undoes itself: divide the logits.",
            "logits / temperature": "Those are still logits: the softmax makes probabilities of them.",
        },
        trials=[([2.0, 1.0, 0.0, -1.0], 0.5), ([2.0, 1.0, 0.0, -1.0], 2.0), ([0.3, -4.0, 3.0], 1.0)],
        tensors=True,
        praise="Below 1 the likeliest tokens gain, above 1 the tail does, and at 1 nothing changes.",
    ),
    function_exercise(
        "03-nucleus",
        "The nucleus of top-p",
        hints=(
            "The smallest set is made of the likeliest tokens: put them in order first.",
            "Add them up from the top. The token that brings the sum to `p` belongs to the set.",
            "A loop over `sorted(probabilities, reverse=True)` that returns the count as soon as the sum is at least `p`.",
        ),
        signature="nucleus_size(probabilities, p)",
        solution="""
            total = 0.0
            for count, probability in enumerate(sorted(probabilities, reverse=True), start=1):
                total += probability
                if total >= p:
                    return count
            return len(probabilities)
        """,
        wrong={
            """
                total, count = 0.0, 0
                for one in sorted(probabilities, reverse=True):
                    total += one
                    if total > p:
                        break
                    count += 1
                return count
            """: "The token that brings the sum to `p` belongs to the nucleus; without it a certain model would keep nothing.",
            "sum(one >= p for one in probabilities)": "That compares each probability with `p`; top-p looks at their sum.",
            """
                total = 0.0
                for count, one in enumerate(probabilities, start=1):
                    total += one
                    if total >= p:
                        return count
                return len(probabilities)
            """: "The probabilities are summed in the order given; the smallest set begins with the likeliest.",
            "sum(one >= p * max(probabilities) for one in probabilities)": (
                "That is min-p, a fraction of the largest probability; top-p needs a sum."
            ),
        },
        trials=[
            ([0.05, 0.5, 0.15, 0.3], 0.9),
            ([0.2, 0.2, 0.2, 0.2, 0.2], 0.5),
            ([0.04, 0.96], 0.95),
            ([0.125, 0.25, 0.5, 0.125], 0.75),
            ([0.1] * 10, 1.0),  # they sum to a little less than 1
        ],
        tolerance=0.0,
        praise="Two tokens where the model is certain, many where it is not: the nucleus adapts to it.",
    ),
    function_exercise(
        "03-padding",
        "The mask of a padded batch",
        hints=(
            "Every row is as long as the longest prompt, and all rows end together.",
            "A row holds longest - length zeros, then length ones.",
            "`[[0] * (longest - length) + [1] * length for length in lengths]`",
        ),
        signature="left_padded_mask(lengths)",
        solution="""
            longest = max(lengths)
            return [[0] * (longest - length) + [1] * length for length in lengths]
        """,
        wrong={
            "[[1] * length + [0] * (max(lengths) - length) for length in lengths]": (
                "That pads on the right: the model would continue after the padding, not after the prompt."
            ),
            "[[1] * (max(lengths) - length) + [0] * length for length in lengths]": (
                "Ones and zeros are exchanged: 1 marks a token to be read, 0 padding."
            ),
            "[[1] * max(lengths) for _ in lengths]": "With ones everywhere the model reads the padding as text.",
        },
        trials=[([2, 3],), ([1, 4, 2],), ([3],)],
        tolerance=0.0,
        praise="Zeros first and real tokens last: every row ends where its continuation begins.",
    ),
    function_exercise(
        "03-min-p",
        "Relative to the likeliest token",
        hints=(
            "The threshold depends on the likeliest token. What is it when that token has probability 0.5 and `p` is 0.1?",
            "`p * probabilities.max()` is the threshold.",
            "`int((probabilities >= p * probabilities.max()).sum())`",
        ),
        signature="kept_by_min_p(probabilities, p)",
        solution="int((probabilities >= p * probabilities.max()).sum())",
        wrong={
            "int((probabilities >= p).sum())": "That compares with `p` itself; the threshold is `p` times the largest probability.",
            "int((probabilities.sort(descending=True).values.cumsum(0) < p).sum()) + 1": (
                "That is top-p: it adds probabilities up until they reach `p`."
            ),
            "int((probabilities > p * probabilities.max()).sum())": "A token of exactly `p` times the largest probability is kept.",
        },
        trials=[([0.5, 0.3, 0.15, 0.05], 0.2), ([0.26, 0.25, 0.25, 0.24], 0.9), ([0.9, 0.06, 0.04], 0.06), ([0.5, 0.25, 0.25], 0.5)],
        tensors=True,
        praise="Where the model is certain, few tokens are kept; where it is not, many.",
    ),
)

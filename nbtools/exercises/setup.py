"""The exercises of 00_setup: the smallest language model, and what training needs in memory."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

EXERCISES = (
    function_exercise(
        "00-bigram",
        "The smallest language model",
        hints=(
            "Look at every word together with the one after it: `zip(words, words[1:])` gives these pairs.",
            "Among the pairs that begin with `word`, which fraction ends with `following`? The last word of the text begins no pair.",
            "`after = [second for first, second in zip(words, words[1:]) if first == word]`",
        ),
        signature="probability(words, word, following)",
        solution="""
            after = [second for first, second in zip(words, words[1:]) if first == word]
            return after.count(following) / len(after) if after else 0.0
        """,
        wrong={
            """
                after = [second for first, second in zip(words, words[1:]) if first == word]
                return after.count(following)
            """: "That is a count. A probability is a fraction of the times that `word` was followed by anything.",
            """
                after = [second for first, second in zip(words, words[1:]) if first == word]
                return after.count(following) / words.count(word) if after else 0.0
            """: "A `word` at the very end is followed by nothing, so it must not be counted below the fraction.",
            """
                after = [second for first, second in zip(words, words[1:]) if first == word]
                return after.count(following) / len(words)
            """: "Divide by how often `word` is followed by something, not by the length of the text.",
            "words.count(following) / len(words)": "That ignores `word`: take the fraction among the words that come right after it.",
            """
                before = [first for first, second in zip(words, words[1:]) if second == word]
                return before.count(following) / len(before) if before else 0.0
            """: "That counts what comes before `word`; a language model predicts what comes after.",
        },
        trials=[
            (["the", "film", "was", "the", "best", "film"], "the", "film"),
            (["the", "film", "was", "the", "best", "film"], "film", "was"),
            (["a", "b", "a", "b", "a", "c"], "a", "b"),
            (["a", "b"], "z", "b"),
            (["a", "b", "a"], "b", "a"),
        ],
        praise="A model that looks at one word. GPT-2 looks at all words before, and can do so for texts that it has never seen.",
    ),
    function_exercise(
        "00-memory",
        "What full fine-tuning keeps in memory",
        hints=(
            "Count the numbers kept for one parameter.",
            "One weight, one gradient, two averages: four numbers of 4 bytes.",
            "`parameters * 16 / 1e9`",
        ),
        signature="training_gigabytes(parameters)",
        solution="""
            copies = 1 + 1 + 2                      # weights, gradients, AdamW's two averages
            return parameters * 4 * copies / 1e9    # 4 bytes per number
        """,
        wrong={
            "parameters * 4 / 1e9": (
                "That is the weights alone, enough to generate text; training also keeps gradients and AdamW's averages."
            ),
            "parameters * 8 / 1e9": "Weights and gradients are counted; AdamW's two averages for each parameter are missing.",
            "parameters * 12 / 1e9": "One number per parameter is missing: AdamW keeps two averages, of the gradient and of its square.",
            "parameters * 16 / 2**30": "That counts in GiB (2³⁰ bytes); a GB is 10⁹ bytes, 7 percent less.",
        },
        trials=[(124_439_808,), (6_967_296,), (774_030_080,), (1,)],
        tolerance=1e-10,
        praise="16 bytes per parameter: GPT-2 small needs 2 GB before it has read a single word. Activations come on top.",
    ),
)

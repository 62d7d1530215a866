"""The exercises of notebook 07: leaks between splits, memory, adapters, encodings."""

from __future__ import annotations

from nbtools.exercises.definition import function_exercise

EXERCISES = (
    function_exercise(
        "07-leak",
        "Which texts are in both splits?",
        hints=(
            "Two texts that differ in a double space are the same text to a model. Normalize both first.",
            '`" ".join(text.casefold().split())` normalizes a text; looking one up in a set is fast.',
            "`seen = {plain(text) for text in train}`, then count `plain(text) in seen` over `test`.",
        ),
        signature="leaked(train, test)",
        solution="""
            def plain(text):
                return ' '.join(text.casefold().split())
            seen = {plain(text) for text in train}
            return sum(plain(text) in seen for text in test)
        """,
        wrong={
            "sum(text in train for text in test)": "That finds exact copies only; a capital letter or a second space hides a leak from it.",
            """
                def plain(text):
                    return ' '.join(text.casefold().split())
                return len({plain(text) for text in train} & {plain(text) for text in test})
            """: "Two copies of one text in the test split are two texts that leaked.",
        },
        trials=[
            (["A fine film.", "Bad  film"], ["a fine film.", "bad film", "Another one"]),
            (["x y"], ["x  Y", "X y", "z"]),
            (["one"], []),
            (["to day it rained"], ["today it rained"]),
        ],
        praise="A test on training texts measures memorization.",
    ),
    function_exercise(
        "07-training-memory",
        "Memory for training",
        hints=(
            "Every weight is in memory. Which of them have a gradient, and which have moments?",
            "A number in fp32 has 4 bytes; AdamW keeps two numbers for each weight that it trains.",
            "`4 * parameters + (4 + 8) * trainable`",
        ),
        signature="training_bytes(parameters, trainable)",
        solution="4 * parameters + 12 * trainable",
        wrong={
            "16 * parameters": "Frozen weights have neither gradient nor moments.",
            "16 * trainable": "Frozen weights are not trained, but they are in memory: the forward pass needs them.",
            "4 * parameters + 8 * trainable": "Either the gradient or one of the two moments is missing.",
        },
        trials=[(1000, 1000), (134_515_008, 134_515_008), (134_515_008, 4_884_480), (10, 0)],
        praise="So full training takes sixteen bytes per weight, and an adapter hardly more than the model itself.",
    ),
    function_exercise(
        "07-adapter",
        "How large is an adapter?",
        hints=(
            "How many numbers are in each of the three matrices?",
            "The two thin ones have `rank * (rows + columns)` together.",
            "`rank * (rows + columns) / (rows * columns)`",
        ),
        signature="share(rows, columns, rank)",
        solution="rank * (rows + columns) / (rows * columns)",
        wrong={
            "rank / min(rows, columns)": "That is one of the two thin matrices only.",
            "rank * rank / (rows * columns)": (
                "The thin matrices cover all rows and all columns; rank × rank is only their inner dimension."
            ),
        },
        trials=[(768, 2304, 16), (576, 576, 16), (100, 100, 50)],
        praise="At rank 50 of a 100 × 100 matrix nothing is saved any more.",
    ),
    function_exercise(
        "07-mojibake",
        "Garbled letters",
        hints=(
            "Reverse the two steps: restore the bytes, then decode them correctly.",
            '`text.encode("cp1252")` restores the bytes. What do both steps do when the text was not garbled?',
            "`try: return text.encode('cp1252').decode('utf8')`, and on `UnicodeError` return `text`.",
        ),
        signature="repair(text)",
        solution="""
            try:
                return text.encode('cp1252').decode('utf8')
            except UnicodeError:
                return text
        """,
        wrong={
            "text.encode('cp1252').decode('utf8')": "A text that was never garbled makes this raise: catch that and return the text.",
            "text.encode('cp1252', 'ignore').decode('utf8', 'ignore')": (
                "Leaving out what does not fit loses letters of texts that were right."
            ),
        },
        trials=[("cafÃ©",), ("café",), ("plain",), ("itâ€™s",), ("日本",)],
        praise="This is why a file's encoding should be stated and not guessed silently.",
    ),
)

"""The exercises of notebook 07: leaks between splits, memory, adapters, encodings."""

from __future__ import annotations

from nbtools.exercises.framework import WrongAnswer
from nbtools.exercises.trials import function_exercise

LEAK = function_exercise(
    id="07-leak",
    title="Which texts are in both splits?",
    minutes=8,
    difficulty=2,
    task=(
        "`train` and `test` are lists of texts. Return how many texts of `test` also occur in `train`, ignoring differences in spacing and "
        "case."
    ),
    hints=(
        "Two texts that differ in a double space are the same text to a model. Normalize both first.",
        '`" ".join(text.casefold().split())` normalizes a text; looking one up in a set is fast.',
        "`seen = {plain(text) for text in train}`, then count `plain(text) in seen` over `test`.",
    ),
    trials=lambda: [
        (["A fine film.", "Bad  film"], ["a fine film.", "bad film", "Another one"]),
        (["x y"], ["x  Y", "X y", "z"]),
        (["one"], []),
    ],
    praise="A test on training texts measures memorization.",
    solution=(
        "def leaked(train, test):\n"
        "    def plain(text):\n        return ' '.join(text.casefold().split())\n"
        "    seen = {plain(text) for text in train}\n"
        "    return sum(plain(text) in seen for text in test)"
    ),
    wrong=(
        WrongAnswer(
            "def leaked(train, test):\n    return sum(text in train for text in test)",
            "That finds exact copies only; a capital letter or a second space hides a leak from it.",
        ),
        WrongAnswer(
            "def leaked(train, test):\n"
            "    def plain(text):\n        return ' '.join(text.casefold().split())\n"
            "    return len({plain(text) for text in train} & {plain(text) for text in test})",
            "Two copies of one text in the test split are two texts that leaked.",
        ),
    ),
)

MEMORY = function_exercise(
    id="07-training-memory",
    title="Memory for training",
    minutes=6,
    difficulty=2,
    task=(
        "A model has `parameters` weights in fp32, of which `trainable` are trained with AdamW. Return the bytes that weights, "
        "gradients and AdamW's two moments need together, without activations."
    ),
    hints=(
        "Every weight is in memory. Which of them have a gradient, and which have moments?",
        "A number in fp32 has 4 bytes; AdamW keeps two numbers for each weight that it trains.",
        "`4 * parameters + (4 + 8) * trainable`",
    ),
    trials=lambda: [(1000, 1000), (134_515_008, 134_515_008), (134_515_008, 4_884_480), (10, 0)],
    praise="So full training takes sixteen bytes per weight, and an adapter hardly more than the model itself.",
    solution="def training_bytes(parameters, trainable):\n    return 4 * parameters + 12 * trainable",
    wrong=(
        WrongAnswer(
            "def training_bytes(parameters, trainable):\n    return 16 * parameters",
            "Frozen weights have neither gradient nor moments.",
        ),
        WrongAnswer(
            "def training_bytes(parameters, trainable):\n    return 16 * trainable",
            "Frozen weights are not trained, but they are in memory: the forward pass needs them.",
        ),
        WrongAnswer(
            "def training_bytes(parameters, trainable):\n    return 4 * parameters + 8 * trainable",
            "Either the gradient or one of the two moments is missing.",
        ),
    ),
)

ADAPTER = function_exercise(
    id="07-adapter",
    title="How large is an adapter?",
    minutes=5,
    difficulty=1,
    task=(
        "LoRA adds two thin matrices to a frozen one of `rows` × `columns`: `rows` × `rank` and `rank` × `columns`. Return their number "
        "of weights as a fraction of the frozen matrix's."
    ),
    hints=(
        "How many numbers are in each of the three matrices?",
        "The two thin ones have `rank * (rows + columns)` together.",
        "`rank * (rows + columns) / (rows * columns)`",
    ),
    trials=lambda: [(768, 2304, 16), (576, 576, 16), (100, 100, 50)],
    praise="At rank 50 of a 100 × 100 matrix nothing is saved any more.",
    solution="def share(rows, columns, rank):\n    return rank * (rows + columns) / (rows * columns)",
    wrong=(
        WrongAnswer(
            "def share(rows, columns, rank):\n    return rank / min(rows, columns)",
            "That is one of the two thin matrices only.",
        ),
        WrongAnswer(
            "def share(rows, columns, rank):\n    return rank * rank / (rows * columns)",
            "The thin matrices cover all rows and all columns; rank × rank is only their inner dimension.",
        ),
    ),
)

MOJIBAKE = function_exercise(
    id="07-mojibake",
    title="Garbled letters",
    minutes=7,
    difficulty=2,
    task=(
        '`text` was written as UTF-8 and read as Windows-1252, so that "café" became "cafÃ©". Return what was written; '
        "a text that cannot have been garbled in this way comes back as it is."
    ),
    hints=(
        "Reverse the two steps: restore the bytes, then decode them correctly.",
        '`text.encode("cp1252")` restores the bytes. What do both steps do when the text was not garbled?',
        "`try: return text.encode('cp1252').decode('utf8')`, and on `UnicodeError` return `text`.",
    ),
    trials=lambda: [("cafÃ©",), ("café",), ("plain",), ("itâ€™s",), ("日本",)],
    praise="This is why a file's encoding should be stated and not guessed silently.",
    solution=(
        "def repair(text):\n    try:\n        return text.encode('cp1252').decode('utf8')\n    except UnicodeError:\n        return text"
    ),
    wrong=(
        WrongAnswer(
            "def repair(text):\n    return text.encode('cp1252').decode('utf8')",
            "A text that was never garbled makes this raise: catch that and return the text.",
        ),
        WrongAnswer(
            "def repair(text):\n    return text.encode('cp1252', 'ignore').decode('utf8', 'ignore')",
            "Leaving out what does not fit loses letters of texts that were right.",
        ),
    ),
)

EXERCISES = (LEAK, MEMORY, ADAPTER, MOJIBAKE)

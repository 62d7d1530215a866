"""Record how llama.cpp tokenizes difficult strings with SmolLM2's GGUF: the reference for the converted tokenizer.

Run once, in an environment that has llama-cpp-python (which the course itself does not need):

    python tools/record_smollm2_tokens.py SmolLM2-135M-Instruct.Q4_1.gguf tests/models/smollm2_tokens.json
"""

from __future__ import annotations

import datetime
import hashlib
import json
import sys
from pathlib import Path

REVIEW = (
    "I saw \"The Third Man\" (1949) twice: first in '99, then again last night. It's 104 minutes long, and I wouldn't cut one!\n\n"
    "Welles doesn't appear until 1:05:00 or so...but WHAT an entrance -- 10/10. "
)

PLAIN = [
    "",
    " ",
    "  ",
    "   ",
    " " * 31,
    "Hello world",
    " Hello world",
    "  Hello   world  ",
    "Hello world ",
    "trailing spaces    ",
    "one  two   three    four",
    "\t",
    "\n",
    "\r\n",
    "\n\n\n",
    " \n \n\t\n ",
    "line one\nline two\r\nline three\rline four",
    "\tif x:\n\t\treturn  y\n",
    "tab\tseparated\tvalues\t\t",
    "no\u00a0break\u2009thin\u3000wide space",
    "0",
    "7",
    "42",
    "2024",
    " 2024",
    "  2024",
    "   12  345",
    "In 2024, 1,234,567.89 people paid $12.50 (or 3%).",
    "1e-05 0x1F 3.14159 1/2 10/10 7:45pm v2.0.1",
    "abc123def456",
    "123abc 4th 22nd",
    "\n1\n 2\n  3",
    "x²+y³=z⁴ ½ ¾ Ⅷ ① ٣٤٥ १२३ 一二三",
    "−5 °C ± 0.5 µm",
    "I'm you're he's she'll we've they'd isn't don't can't",
    "I'M YOU'RE HE'S SHE'LL WE'VE THEY'D ISN'T",
    "the dogs' bowls, '90s rock, 'tis, rock 'n' roll, o'clock",
    "curly quotes: it’s “fine” ‘really’ — isn’t it…",
    "'",
    "''s 's s' 'll'",
    "Wait... what?! No!!! (Yes.) [maybe] {never}",
    "---===***___###~~~",
    "a-b_c.d/e\\f|g",
    "e-mail: someone@example.org, https://example.org/a?b=c&d=%20#top",
    "<br /><br />A line.<br/>Another &amp; more &lt;3",
    "def f(x: int) -> int:\n    return x**2 + 1  # square\n\n\nprint(f(10))\n",
    "for (int i = 0; i < 10; ++i) { a[i] += b[i] << 2; }",
    "SELECT * FROM reviews WHERE stars >= 8;",
    '{"key": [1, 2.5, null, true], "nested": {"a": "\\n"}}',
    "CamelCaseAndSnake_case and SCREAMING_CASE and kebab-case",
    "🎬🍿",
    "I loved it 😀😃😄!!",
    "👩‍👩‍👧‍👦 👍🏽 🇫🇷 ❤️ 1️⃣",
    "café naïve Zoë façade Ångström",
    "cafe\u0301 vs café",
    "Привет, мир! Как дела?",
    "Γειά σου Κόσμε",
    "שלום עולם, מה שלומך?",
    "مرحبا بالعالم، كيف الحال؟",
    "mixed עברית and English 123 العربية",
    "你好，世界！今天天气很好。",
    "これは映画のレビューです。１２３",
    "안녕하세요 세계",
    "สวัสดีชาวโลก",
    "नमस्ते दुनिया",
    "z\u0335\u0321a\u0337\u0322l\u0336\u0323g\u0335\u0324o\u0334",
    "\u200bzero\u200dwidth\ufeff marks \u202eoverride\u202c",
    "\ufffd \ue000 \U0001d400\U0001d401 \U00020000",
    "bell\x07 backspace\x08 escape\x1b[31m delete\x7f nel\x85 separators\x1c\x1d\x1e\x1f vt\x0b ff\x0c",
    "\x01\x02\x03",
    "\u2028line\u2029paragraph",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "hahahahahahahahahahahaha!!!!!!!!!!!!!!!!",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "<|not_a_mark|> <| im_end |> <|im_end |im_end|>",
    "[INST] <s> </s> <pad> <unk> [MASK]",
    REVIEW,
    REVIEW * 40,
    "word " * 500 + "\n" * 50 + " 1" * 300,
]

WITH_MARKS = [
    "<|endoftext|>",
    "<|endoftext|>This film was",
    "One.<|endoftext|>Two.",
    "One. <|endoftext|> Two.",
    "<|im_start|>user\nIs it 2024?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_end|><|im_end|>\n",
    "<repo_name>x<file_sep>y 12<empty_output>",
    "price 9<|endoftext|>9",
]


def main(gguf_file: str, target: str) -> None:
    import llama_cpp

    file = Path(gguf_file)
    model = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
    cases = [
        {"text": text, "ids": model.tokenize(text.encode("utf8"), add_bos=False, special=marks)}
        for marks, texts in ((False, PLAIN), (True, WITH_MARKS))
        for text in texts
    ]
    record = {
        "tokenizer": f"llama.cpp, through llama-cpp-python {llama_cpp.__version__}",
        "date": datetime.date.today().isoformat(),
        "gguf_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "cases": cases,
    }
    lines = ",\n".join("  " + json.dumps(case) for case in record.pop("cases"))
    head = json.dumps(record, indent=1)[:-2]
    Path(target).write_text(f'{head},\n "cases": [\n{lines}\n ]\n}}\n', encoding="utf8")
    print(f"{len(cases)} strings recorded in {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])

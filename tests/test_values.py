"""Values given by the user: valid ones are converted, invalid ones refused in two lines, by every function that takes options."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from nbtools.compare import sample_pairs
from nbtools.errors import CourseError, InputError, MachineError
from nbtools.generation import SamplingParams, continue_ids, generate, next_tokens, stream
from nbtools.profiles import PROFILES
from nbtools.values import CHECKS, Number, near_miss, shown
from nbtools.widgets import Microscope, PromptLab
from tests.small_models import mini, tiny

PROMPT = "The movie was"
NOT_NUMBERS = [math.nan, math.inf, -math.inf, "3", "a", b"3", [1], {}, True, np.bool_(True), Decimal(1), 1 + 2j, 10**400, -(10**9), 1e30]
NOT_WHOLE_NUMBERS = [*NOT_NUMBERS, 3.0, 2.5, np.float64(2), torch.tensor([1, 2]), 2**70]
DECODING = {
    "temperature": NOT_NUMBERS, "top_p": [*NOT_NUMBERS, 0, 1.1], "min_p": [*NOT_NUMBERS, 1.1], "repetition_penalty": [*NOT_NUMBERS, 0],
    "top_k": NOT_WHOLE_NUMBERS, "num_beams": [*NOT_WHOLE_NUMBERS, 0, None, 10**6], "max_new_tokens": [*NOT_WHOLE_NUMBERS, 0, None],
    "max_length": [*NOT_WHOLE_NUMBERS, 1], "seed": [*NOT_WHOLE_NUMBERS, -1, None], "num_samples": [*NOT_WHOLE_NUMBERS, 0, None],
    "do_sample": ["yes", 1, 0.0, []], "temperatur": [0.7], "maxnewtokens": [3], "length": [3],
}  # fmt: skip
FUNCTIONS = {
    "SamplingParams": lambda **values: SamplingParams.from_options("test", values),
    "generate": lambda **values: generate(mini(), PROMPT, **values),
    "stream": lambda **values: stream(mini(), PROMPT, **values),
    "next_tokens": lambda **values: next_tokens(mini(), PROMPT, **values),
    "sample_pairs": lambda **values: sample_pairs(mini(), mini(), [PROMPT], **values),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", DECODING)
def test_an_invalid_sampling_parameter_is_refused_in_two_lines(function: str, name: str) -> None:
    for value in DECODING[name]:
        with pytest.raises(InputError) as refused:
            FUNCTIONS[function](**{name: value})
        assert name in refused.value.problem and "\n" not in refused.value.problem + refused.value.remedy
        assert len(refused.value.problem) < 200


@pytest.mark.parametrize("view", [PromptLab, lambda lm, **values: Microscope(lm, lm, **values)])
@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "max_new_tokens", "seed"])
def test_a_view_refuses_what_generate_refuses(view: Any, name: str) -> None:
    for value in DECODING[name]:
        with pytest.raises(InputError, match=name):
            view(mini(), **{name: value})


def test_a_misspelt_option_is_refused_with_the_most_similar_one() -> None:
    for wrong, right in {"temperatur": "temperature", "max_tokens": "max_new_tokens", "topk": "top_k", "on_txt": "on_text"}.items():
        with pytest.raises(InputError) as refused:
            generate(mini(), PROMPT, **{wrong: 1})
        assert f"'{wrong}'" in refused.value.problem and f"Did you mean '{right}'?" in refused.value.remedy


def test_numpy_numbers_are_converted_to_python_numbers() -> None:
    """They come from sweeps and tables: np.int64 was refused, or reached a library that does not accept it."""
    given = {
        "temperature": np.float32(0.5),
        "top_k": np.int64(20),
        "seed": np.uint32(7),
        "max_new_tokens": np.int16(4),
        "top_p": np.float64(1),
    }
    params = SamplingParams(**given)
    assert all(type(getattr(params, name)) in {int, float} for name in given)
    plain = {name: value.item() for name, value in given.items()}
    lm = tiny()
    assert generate(lm, PROMPT, **given) == generate(lm, PROMPT, **plain)
    assert generate(lm, PROMPT, do_sample=np.bool_(False), max_new_tokens=2) == generate(lm, PROMPT, max_new_tokens=2)


@pytest.mark.parametrize("others", [{}, {"top_k": 50, "top_p": 0.9}, {"do_sample": True}, {"repetition_penalty": 1.3}])
def test_a_temperature_of_zero_is_greedy_everywhere(others: dict[str, Any]) -> None:
    """It was refused, although it is greedy in the prompt lab and in other libraries."""
    lm, penalty = tiny(), {name: value for name, value in others.items() if name == "repetition_penalty"}
    greedy = generate(lm, PROMPT, max_new_tokens=8, **penalty)
    values = {"temperature": 0, **others}
    assert generate(lm, PROMPT, max_new_tokens=8, **values) == greedy
    assert generate(lm, PROMPT, max_new_tokens=8, num_beams=1, temperature=1e-9, **others) == greedy
    assert PROMPT + "".join(stream(lm, PROMPT, max_new_tokens=8, **values)) == greedy
    assert sample_pairs(lm, lm, [PROMPT], max_new_tokens=8, **values)[0]["after"] == greedy
    ids = lm.tokenizer(PROMPT)["input_ids"]
    assert PROMPT + "".join(new.text for new in continue_ids(lm, ids, SamplingParams(max_new_tokens=8, seed=0, **values))) == greedy
    exact = next_tokens(lm, PROMPT, **values)
    assert exact.probabilities[0] == 1 and exact.ids[0] == next_tokens(lm, PROMPT, **penalty).ids[0]
    assert generate(lm, PROMPT, max_new_tokens=8, num_beams=2, temperature=0) == generate(lm, PROMPT, max_new_tokens=8, num_beams=2)


@pytest.mark.parametrize("values", [{}, {"num_beams": 40}, {"num_samples": 40}, {"temperature": 0.7}])
def test_more_texts_than_fit_into_memory_are_refused_before_generation(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A million beams took all memory, and the notebook kernel was killed."""
    lm, several = tiny(), [PROMPT] * 40
    monkeypatch.setattr("nbtools.generation.texts.available_memory", lambda: 10**6)
    assert isinstance(generate(lm, PROMPT, max_new_tokens=2), str)
    with pytest.raises(MachineError, match="GB of memory"):
        generate(lm, PROMPT if set(values) & {"num_beams", "num_samples"} else several, max_new_tokens=40, **values)


def test_a_number_describes_its_bounds() -> None:
    assert str(Number(0, 1, above=True)) == "a number above 0 up to 1" and str(Number(0, 1, below=True)) == "a number from 0 below 1"
    assert str(CHECKS["top_k"]) == "a whole number from 0 up to 1,000,000,000"
    assert len(shown("x" * 10**6)) == 80 and "digits" in shown(10**5000)


@pytest.mark.parametrize(
    ("name", "right"), [("Mini", "mini"), (" mini ", "mini"), ("minni", "mini"), ("GPT2", "gpt2"), ("smol-lm2", "smollm2")]
)
def test_near_misses_are_found_despite_case_and_spaces(name: str, right: str) -> None:
    assert near_miss(name, PROFILES) == f"Did you mean {right!r}? "


def test_every_check_raises_a_course_error() -> None:
    for check in CHECKS.values():
        for value in (object(), {}, "\ud83d", [None]):
            if not (isinstance(value, str) and check is CHECKS["report_to"]):
                with pytest.raises(CourseError):
                    check("name", value)

"""Each benchmark from end to end on tiny shapes: in this process, because starting a fresh one for every measurement takes minutes."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import finetune_throughput, harness, profile, sweep, tables, time_to_perplexity, training_step
from benchmarks.harness import Call, Row
from benchmarks.layout import markdown
from benchmarks.recipes import IGNORED, RECIPES, Work, padded_rows, random_gpt2, set_dropout, training_reviews
from nbtools.models.loading import MINI_FOLDER
from tests.browser.jupyterlab import find_browser

needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed (the extra bench)")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements run in this process."""

    def measure(call: Call) -> Row:
        module, _, name = call.function.partition(":")
        row = getattr(importlib.import_module(module), name)(**call.arguments)
        return row | {"wall_seconds": 1.0, "peak_memory_bytes": 10**9, "tree_memory_bytes": 2 * 10**9}

    monkeypatch.setattr(harness, "measure", measure)
    monkeypatch.setattr(harness, "others_percent", lambda: 0.0)


def quick(name: str, tmp_path: Path, *more: str) -> dict[str, Any]:
    module = importlib.import_module(f"benchmarks.{name}")
    options: Callable[[], Any] = getattr(module, "options", lambda: harness.parser(None))
    target = tmp_path / f"{name}.json"
    assert harness.main(name, module.run, options(), ["--quick", "--out", str(target), *more]) == 0
    return dict(json.loads(target.read_text(encoding="utf8")))


def shown_table(name: str, record: dict[str, Any]) -> str:
    """What the page shows of a record."""
    return "\n\n".join(map(markdown, tables.TABLES[name](record)))


@pytest.mark.long(10)
@needs_trl
def test_finetune_throughput(here: None, tmp_path: Path) -> None:
    record = quick("finetune_throughput", tmp_path)
    assert set(record["raw"]) == {"machine", *RECIPES}
    assert all(row["tokens_per_second"] > 0 for name in RECIPES for row in record["raw"][name])
    assert [one["goal"] for one in record["goals"]] == [10, 1.35, 0.5, 0.65]
    assert len(shown_table("finetune_throughput", record).splitlines()) > len(RECIPES)


@pytest.mark.long(20)
def test_dropout(here: None, tmp_path: Path) -> None:
    record = quick("dropout", tmp_path)
    assert set(record["summary"]) == {"0.1", "0.0"}
    assert "| dropout 0.1 |" in shown_table("dropout", record)


@pytest.mark.long(20)
def test_time_to_perplexity(here: None, tmp_path: Path) -> None:
    record = quick("time_to_perplexity", tmp_path)
    assert record["raw"]["mini"]["corrected"][0]["steps"] >= 1
    assert record["raw"]["mini"]["ours"][0]["seen"] and len(record["raw"]["mini"]["rates"]) == 2
    assert "mini" in shown_table("time_to_perplexity", record)


@pytest.mark.slow(5)
def test_generation(here: None, tmp_path: Path) -> None:
    record = quick("generation", tmp_path)
    assert record["equality"]["tiny"]["same_fp32"] == record["equality"]["tiny"]["tokens"] == 3 * 8
    assert record["equality"]["tiny"]["differing_clearly"] == 0
    assert "tiny: **nbtools bf16**" in shown_table("generation", record)


@pytest.mark.slow(5)
@pytest.mark.browser
def test_attention_payload(here: None, tmp_path: Path) -> None:
    find_browser()
    record = quick("attention_payload", tmp_path)
    [row] = record["raw"]["ours, 16"]
    assert row["tokens"] == 16 and row["layer_bytes"] == 4 * 16 * 17 // 2
    assert row["data_bytes"] > row["layer_bytes"] and row["first_ms"] > 0 and row["memory_bytes"] > 10**7
    assert len(row["switch_ms"]) == 1  # the tiny model has one other layer
    assert "| **ours**, 16 tokens |" in shown_table("attention_payload", record)


@pytest.mark.slow(20)
@pytest.mark.browser
def test_site(here: None, tmp_path: Path) -> None:
    find_browser()
    record = quick("site", tmp_path)
    [row] = record["raw"]["visit"]
    assert row["tokens_per_second"] > 0 and 0 < row["distribution_seconds"] <= row["first_seconds"]
    assert row["total_bytes"] > row["base_bytes"] > row["tuned_bytes"] > 8e6 and row["memory_bytes"] > 10**7
    assert "Transformer Explainer" in shown_table("site", record)


@pytest.mark.long(10)
def test_course(here: None, tmp_path: Path) -> None:
    record = quick("course", tmp_path)
    assert record["summary"]["00_setup"]["seconds"] > 0
    assert "| 00_setup |" in shown_table("course", record)


@pytest.mark.slow(5)
def test_profile(here: None, tmp_path: Path) -> None:
    record = quick("profile", tmp_path)
    for recipe in profile.RECIPES:
        groups = record["summary"][recipe]["groups"]
        assert groups["matrix products"] > 0 and groups["loss"] > 0 and groups["optimizer"] > 0
    assert "a step by the clock" in shown_table("profile", record)


@pytest.mark.parametrize(
    ("operator", "group"),
    [
        ("aten::addmm", "matrix products"),
        ("mkldnn::_linear_pointwise", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::_log_softmax_backward_data", "loss"),
        ("aten::_fused_adamw_", "optimizer"),
        ("Optimizer.step#AdamW.step", "optimizer"),
        ("aten::native_layer_norm", "pointwise"),
        ("graph_0_cpp_fused_add_mul_pow_tanh_3", "pointwise"),
        ("aten::bmm", "attention"),
        ("graph_1_cpp_fused__softmax__to_copy_add_8", "attention"),
        ("graph_2_cpp_fused__to_copy_amax_exp_sub_sum_unsqueeze_0", "loss"),
        ("graph_7_cpp_fused__to_copy_add_copy_copy__div_mul_sqrt_sub_0", "optimizer"),
        ("graph_3_cpp_fused__to_copy_mean_mul_pow_rsqrt_2", "pointwise"),
        ("graph_1_cpp_fused__log_softmax_nll_loss_forward_7", "loss"),
        ("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", "data and other"),
    ],
)
def test_an_operator_belongs_to_a_group(operator: str, group: str) -> None:
    assert profile.group_of(operator) == group


def test_the_walkthrough_keeps_its_mistakes_and_the_corrected_one_has_none(tmp_path: Path) -> None:
    lm = random_gpt2("tiny")
    end = lm.document_id
    work = Work(lm, ["A short one.", "word " * 200], tmp_path, block=16)
    short, long = padded_rows(work, right_labels=True)
    length = int(short["attention_mask"].sum())
    assert short["input_ids"][length:].eq(end).all() and short["labels"][length:].eq(IGNORED).all()
    assert torch.equal(short["labels"][:length], short["input_ids"][:length]) and torch.equal(long["labels"], long["input_ids"])
    wrong, cut = padded_rows(work, right_labels=False)
    assert torch.equal(wrong["labels"][:-1], wrong["input_ids"][1:]) and wrong["labels"].ne(IGNORED).all()
    assert cut["labels"][-1] == end, "the model moves labels once more: two words ahead, and padding is learned"


def test_useful_tokens_leave_padding_out(tmp_path: Path) -> None:
    """Two reviews of 3 and 64 tokens in batches of two: 2 + 63 predicted tokens a step."""
    lm = random_gpt2("tiny")
    texts = [str(lm.tokenizer.decode(lm.tokenizer("the film was good " * 50)["input_ids"][:count])) for count in (3, 64)]
    lengths = [len(lm.tokenizer(text)["input_ids"]) for text in texts]
    assert RECIPES["corrected"](Work(lm, texts, tmp_path, block=64, steps=1)) == sum(lengths) - 2


def test_dropout_is_switched_in_the_configuration_and_in_every_module() -> None:
    lm = random_gpt2("tiny")
    assert {module.p for module in lm.model.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}
    set_dropout(lm.model, 0.0)
    assert {module.p for module in lm.model.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}
    assert lm.model.config.attn_pdrop == lm.model.config.resid_pdrop == lm.model.config.embd_pdrop == 0


@pytest.mark.slow(6)
def test_as_many_reviews_as_asked_for() -> None:
    assert len(training_reviews(40)) == 40


def throughput_rows(dtype: str) -> dict[str, list[Row]]:
    """Raw results in which our run chose the format `dtype`, and fp32 products run at three times the speed of bf16's."""
    speeds = {
        "walkthrough": 10,
        "corrected": 10,
        "trainer": 30,
        "trainer_tuned": 50,
        "trainer_linear_loss": 40,
        "trl": 20,
        "trl_compiled": 25,
        "ours": 100,
    }
    figures = {
        "peak_memory_bytes": 4.0,
        "tree_memory_bytes": 5.0,
        "first_step_seconds": 1.0,
        "useful_tokens_per_step": 7.0,
        "parameters": 10**6,
        "dtype": dtype,
    }
    raw: dict[str, list[Row]] = {
        name: [
            figures | {"tokens_per_second": speed * slow, "peak_memory_bytes": 4.0 if name == "walkthrough" else 1.0}
            for slow in (1, 0.5, 1)
        ]
        for name, speed in speeds.items()
    }
    # 6 operations a parameter at 1 GFLOP/s: 166.7 tokens a second are the peak.
    raw["machine"] = [{"fp32_gflops": 3.0 * slow, "bf16_gflops": 1.0 * slow, "read_bytes_per_second": 1.0} for slow in (1, 0.5, 1)]
    return raw


def test_the_best_peer_is_the_one_of_the_highest_median() -> None:
    found = finetune_throughput.summarize(throughput_rows("bf16"))
    assert found["best_peer"] == "trainer_tuned"
    assert [one["value"] for one in found["goals"]] == [10, 2, 0.25, pytest.approx(0.6)]
    assert [one["met"] for one in found["goals"]] == [True, True, True, False]


def test_the_share_of_the_peak_is_of_the_format_that_our_run_used() -> None:
    """In fp32 on a processor that only emulates bf16, the share of bf16's peak was 2.9 and counted as met."""
    found = finetune_throughput.summarize(throughput_rows("fp32"))
    share = found["goals"][-1]
    assert share["value"] == pytest.approx(0.2) and share["format"] == "fp32" and not share["met"]
    assert found["dtype"] == "fp32" and found["goals"][0]["kind"] == "amd-avx512bf16-2"


@pytest.mark.slow(8)
def test_training_step(here: None, tmp_path: Path) -> None:
    record = quick("training_step", tmp_path)
    for name, one in record["summary"].items():
        [row] = record["raw"][name]
        assert row["losses"]["fast"] == pytest.approx(row["losses"]["plain"], rel=1e-3), "both start from the same weights and batch"
        assert one["ratio"]["median"] == pytest.approx(row["plain_seconds"] / row["fast_seconds"])
        assert one["share_of_peak"]["median"] > 0
    assert record["goals"][0]["format"] == "fp32" and record["goals"][0]["goal"] == 1.0
    assert "| tiny, 2 x 64 tokens | fp32 |" in shown_table("training_step", record)


def test_emulated_bf16_is_left_out_of_the_training_steps() -> None:
    assert training_step.worthwhile({"fp32_gflops": 200.0, "bf16_gflops": 4.0}) == ["fp32"]
    assert training_step.worthwhile({"fp32_gflops": 200.0, "bf16_gflops": 40.0}) == ["fp32", "bf16"]


def test_the_share_of_a_training_step_is_of_its_format_in_the_same_round() -> None:
    row = {"plain_seconds": 3.0, "fast_seconds": 1.0, "ratio": 3.0, "tokens": 1000, "parameters": 10**6}
    raw: dict[str, list[Row]] = {
        "machine": [{"fp32_gflops": 10.0, "bf16_gflops": 60.0}],
        "tiny, fp32": [row],
        "tiny, bf16": [row],
    }
    found = training_step.summarize(raw, training_step.QUICK)
    assert [one["share_of_peak"]["median"] for one in found.values()] == [pytest.approx(0.6), pytest.approx(0.1)]


@pytest.mark.slow(30)
def test_learning_rates_end_to_end(tmp_path: Path) -> None:
    record = quick("learning_rates", tmp_path)
    found = record["summary"]["mini"]
    assert found["best_rate"] in (5e-4, 1e-3) and set(found["bits_per_byte"]) == {"0.0005", "0.001"}
    assert found["bits_per_byte"][str(found["best_rate"])] == min(found["bits_per_byte"].values()) != found["before"]
    assert f"**{min(found['bits_per_byte'].values()):.3f}**" in shown_table("learning_rates", record)


@pytest.mark.slow(6)
def test_scoring(here: None, tmp_path: Path) -> None:
    record = quick("scoring", tmp_path)
    one = record["summary"]["mini"]
    assert one["reviews"] == 4 and one["tokens"] > 100 and one["ratio"]["median"] > 0
    assert 0 < one["difference"] < 1e-4, "two ways, of which the sums differ by rounding"
    assert [goal["goal"] for goal in record["goals"]] == [3.0, 1e-4]
    assert "| mini | 4 |" in shown_table("scoring", record)


@pytest.mark.long(30)
def test_the_shipped_model_against_itself(here: None, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.txt"
    record = quick("mini", tmp_path, "--against", str(MINI_FOLDER), "--reading", str(sheet))
    before = record["summary"]["before"]
    assert before["earlier"]["reviews"] == before["shipped"]["reviews"]
    [after] = record["summary"]["after"].values()
    assert 0 < after["shipped"]["median"] < 8 and 0 < after["earlier"]["median"] < 8, "a byte has eight bits"
    assert record["goals"][0]["value"] is None and not record["goals"][0]["met"], "two minutes were not measured"
    assert "| reviews, before |" in shown_table("mini", record) and " minutes | " in shown_table("mini", record)
    key = json.loads(sheet.with_suffix(".key.json").read_text(encoding="utf8"))["A"]
    assert len(key) == 20 and set(key) == {"earlier", "shipped"} and sheet.read_text(encoding="utf8").count(" A  ") == 20


def test_an_earlier_model_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module("benchmarks.mini")
    assert harness.main("mini", module.run, module.options(), ["--quick", "--against", str(tmp_path)]) == 1
    assert "holds no model" in capsys.readouterr().err


def test_a_perplexity_that_was_missed_once_is_not_reached() -> None:
    raw = pair_of_contests()
    assert time_to_perplexity.summarize(raw)["sooner"] == 7.5
    raw["ours"][1]["seconds"] = None
    assert time_to_perplexity.summarize(raw)["sooner"] is None
    assert "| not reached | not reached |" in shown(raw)


def test_a_recipe_that_left_the_model_no_better_sets_no_goal() -> None:
    raw = pair_of_contests()
    raw["corrected"][1]["perplexity"] = 50.0
    assert time_to_perplexity.summarize(raw)["sooner"] is None
    assert "| no better than before |" in shown(raw)


def pair_of_contests() -> dict[str, list[Row]]:
    corrected = [{"before": 50.0, "perplexity": 40.0, "seconds": 90.0, "steps": 9, "learning_rate": 1e-4} for _ in range(2)]
    ours: list[Row] = [{"seconds": 10.0, "steps": 4}, {"seconds": 15.0, "steps": 4}]
    return {"corrected": corrected, "ours": ours, "walkthrough": [{"perplexity": 60.0}]}


def shown(raw: dict[str, list[Row]]) -> str:
    return shown_table("time_to_perplexity", {"summary": {"mini": time_to_perplexity.summarize(raw)}})


@pytest.mark.long(45)
def test_sweep(here: None, tmp_path: Path) -> None:
    record = quick("sweep", tmp_path)
    assert record["summary"]["ways"]["sweep, one worker"]["median"] > sweep.BUSY_SECONDS
    assert list(record["summary"]["growth"]) == ["4"] and record["summary"]["ratios"]["two_workers"] > 0
    assert "**sweep, two workers**" in shown_table("sweep", record)


@pytest.mark.long(12)
def test_adapters(here: None, tmp_path: Path) -> None:
    record = quick("adapters", tmp_path)
    assert set(record["summary"]) == {"all weights", "LoRA, rank 16"} and record["ratios"]["time"] > 0
    assert "| untrained |" in shown_table("adapters", record) and "of the memory" in shown_table("adapters", record)

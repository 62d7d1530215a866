import json

import pytest

from nbtools.data import load_reviews, pack
from nbtools.errors import InputError
from nbtools.evaluation import evaluate
from nbtools.training import SCHEMA, finetune, read_metrics, write_metrics
from tests.small_models import tiny


@pytest.mark.slow(10)
def test_metrics_hold_what_was_measured(tmp_path):
    reviews, lm = load_reviews("package", 40), tiny()
    packed = pack(reviews.train, lm, 64)
    before = {part: evaluate(lm, reviews.part(part)) for part in ("validation", "test")}
    settings = {"batch_size": 2, "max_steps": 10, "learning_rate": 3e-3, "dtype": "fp32", "seed": 5}
    tuned = finetune(lm, packed, reviews=reviews, before=before, output_dir=tmp_path / "run", **settings)
    after = tuned.evaluate()
    assert after["test"].nll == evaluate(tuned.lm, reviews.test).nll
    write_metrics(tuned, samples=[{"prompt": "a"}])
    record = read_metrics(tmp_path / "run")
    assert record["schema"] == SCHEMA and record["kind"] == "finetune" and record["profile"] == "mini"
    for when, scores in (("before", before), ("after", after)):
        for part, score in scores.items():
            assert record[when][part] == json.loads(json.dumps(score.to_dict()))
    assert record["after"]["validation"]["perplexity"] < record["before"]["validation"]["perplexity"]
    assert record["tokens_seen"] == 10 * 2 * 64 and record["steps"] == 10 and record["seconds"] > 0
    assert record["peak_memory_bytes"] > 100e6 and record["parameters"]["seed"] == 5
    assert record["choices"]["dtype"] == "fp32" and record["choices"]["dtype_reason"] == "asked for"
    assert {"torch", "transformers", "datasets", "python"} <= set(record["versions"])
    assert [row["step"] for row in record["curve"]] == [1, 10]
    assert record["data"]["packed"] == packed.counts and record["samples"] == [{"prompt": "a"}]
    assert "NaN" not in (tmp_path / "run" / "metrics.json").read_text()


def test_metrics_without_scores_are_refused_and_scores_after_are_made_where_they_are_missing(tmp_path):
    reviews, lm = load_reviews("package", 40), tiny()
    packed, settings = pack(reviews.train, lm, 64), {"batch_size": 2, "max_steps": 1, "dtype": "fp32"}
    for given in ({"before": {"validation": evaluate(lm, reviews.validation)}}, {"reviews": reviews, "before": {"validation": 3.0}}):
        with pytest.raises(InputError, match="before"):
            finetune(lm, packed, output_dir=tmp_path / "run", **given, **settings)
    with pytest.raises(InputError, match="has no parts"):
        finetune(lm, packed, output_dir=tmp_path / "run", reviews=reviews.train, **settings)
    before = {"validation": evaluate(lm, reviews.validation)}
    tuned = finetune(lm, packed, output_dir=tmp_path / "run", **settings)
    with pytest.raises(InputError, match="not given what it is compared with"):
        write_metrics(tuned)
    tuned.reviews, tuned.before = reviews, before
    write_metrics(tuned)
    assert list(read_metrics(tmp_path / "run")["after"]) == ["validation"] == list(tuned.after)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}'])
def test_broken_metrics_are_refused(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError):
        read_metrics(tmp_path)

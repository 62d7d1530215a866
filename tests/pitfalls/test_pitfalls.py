"""With each mistake its documented symptom appears, and without it it does not."""

from __future__ import annotations

import math

import pytest
import torch

from nbtools.data.packing import IGNORED
from nbtools.errors import InputError, MachineError
from nbtools.evaluation import evaluate
from nbtools.pitfalls import MISTAKES, WORDS, Experiment, Pitfalls, find_mistake, times
from nbtools.pitfalls import experiment as experiments
from nbtools.pitfalls import mistakes as switches
from nbtools.pitfalls.mistakes import Finding, over_seeds
from nbtools.plots.pitfalls import draw_mistakes, table_of_mistake, table_of_mistakes

measured_once = pytest.mark.xdist_group("pitfalls")  # the tests that share the experiment share a process


@pytest.fixture(scope="module")
def pitfalls():
    """All mistakes share one experiment, long enough for what each does to be seen."""
    return Pitfalls(max_steps=20, max_reviews=200, block_size=256, learning_rate=1e-3)


@measured_once
@pytest.mark.long(120)  # notebook 06 measures and shows all of these under papermill and nbval
class TestSymptoms:
    def test_labels_shifted_twice_make_held_out_text_harder(self, pitfalls):
        found = pitfalls.measure("double-shift")
        untrained = evaluate(pitfalls.experiment.fresh(), pitfalls.experiment.reviews.validation["text"][:40]).perplexity
        assert found.right.perplexity < untrained < found.wrong.perplexity and found.verdict in ("clearly worse", "broken")

    def test_padding_in_the_loss_makes_the_loss_look_better_than_it_is(self, pitfalls):
        found = pitfalls.measure("unmasked-padding")
        assert found.wrong.loss < 0.9 * found.right.loss and found.wrong.loss < 0.85 * math.log(found.wrong.perplexity)
        assert found.right.loss > 0.9 * math.log(found.right.perplexity)

    def test_a_fixed_length_is_mostly_padding_and_changes_nothing_else(self, pitfalls):
        found = pitfalls.measure("fixed-length")
        assert found.wrong.useful < found.right.useful < 1.0 and found.factor > 1
        assert found.wrong.perplexity == pytest.approx(found.right.perplexity, rel=1e-3)

    def test_without_ends_in_the_loss_the_model_does_not_learn_to_end(self, pitfalls):
        found = pitfalls.measure("ends-masked")
        assert found.right.ending > 3 * found.wrong.ending
        assert found.wrong.perplexity == pytest.approx(found.right.perplexity, rel=0.2)

    def test_documents_that_see_each_other(self, pitfalls):
        found = pitfalls.measure("documents-mixed")
        assert found.wrong.loss != found.right.loss and found.wrong.perplexity != found.right.perplexity

    def test_the_walkthrough_has_all_of_it(self, pitfalls):
        found = pitfalls.measure("walkthrough")
        assert found.factor > 1.25 and found.wrong.useful < 0.9 and found.wrong.loss < math.log(found.wrong.perplexity)


@pytest.mark.slow(12)
@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_the_fast_passes_train_as_the_library_does(monkeypatch, kind):
    made = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(experiments, "fits", lambda model: False)
        made.append(Experiment(max_steps=4, max_reviews=60, block_size=64, learning_rate=1e-3).right(kind))
    assert made[0].loss == pytest.approx(made[1].loss, rel=1e-4) and made[0].perplexity == pytest.approx(made[1].perplexity, rel=1e-3)
    assert made[0].useful == made[1].useful


@measured_once
@pytest.mark.slow(10)
def test_a_missing_mask_changes_a_text_by_what_it_is_batched_with(pitfalls):
    found = pitfalls.measure("missing-mask")
    assert found.factor > 1.02


@measured_once
@pytest.mark.slow(10)
def test_choosing_by_the_test_part_flatters_and_choosing_by_validation_does_not(pitfalls):
    found = pitfalls.measure("chosen-on-test")
    by_test, by_validation = (float(text) for text in found.rows[0][1:])
    assert by_test > by_validation and by_validation == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow(7)
def test_fewer_reviews_than_two_parts_are_halved():
    """The mean over an empty part was no number, and so was the verdict."""
    experiment = Experiment(max_reviews=60, block_size=64)
    assert len(experiment.reviews.validation) + len(experiment.reviews.test) < 30
    assert math.isfinite(find_mistake("chosen-on-test").measure(experiment).factor)


@measured_once
@pytest.mark.slow(10)
def test_learned_positions_cannot_be_exchanged_and_are_put_back(pitfalls):
    experiment = pitfalls.experiment
    before = experiment.fresh().model.get_parameter("transformer.wpe.weight").clone()
    assert pitfalls.measure("wrong-positions").verdict == "broken"
    assert torch.equal(before, experiment.lm.model.get_parameter("transformer.wpe.weight"))


@measured_once
@pytest.mark.slow(30)
def test_a_mistake_is_measured_once_and_shown(pitfalls):
    assert pitfalls.measure("missing-mask") is pitfalls.measure("missing-mask")
    assert "perplexity in a left-padded batch" in repr(table_of_mistake(pitfalls, "missing-mask"))
    assert "No attention mask" in repr(table_of_mistakes(pitfalls))
    assert draw_mistakes(pitfalls).png().startswith(b"\x89PNG") and "times as" in draw_mistakes(pitfalls).alt


class TestSwitches:
    """Each switch does to a batch what its wrong line says, and no more."""

    def change(self, switch):
        class Ends:
            document_id = 0

        ids, labels = torch.tensor([[0, 5, 6, 0, 0]]), torch.tensor([[0, 5, 6, 0, IGNORED]])
        batch = {"input_ids": ids.clone(), "attention_mask": torch.tensor([[1, 1, 1, 1, 0]]), "labels": labels.clone()}
        changed = switch(Ends(), batch)
        assert torch.equal(changed["input_ids"], ids) and torch.equal(batch["labels"], labels)
        return changed["labels"].tolist()

    def test_shift(self):
        assert self.change(switches._shift_labels) == [[5, 6, 0, IGNORED, IGNORED]]

    def test_padding(self):
        assert self.change(switches._learn_padding) == [[0, 5, 6, 0, 0]]

    def test_ends(self):
        assert self.change(switches._mask_every_end) == [[IGNORED, 5, 6, IGNORED, IGNORED]]

    def test_walkthrough(self):
        assert self.change(switches._as_in_the_walkthrough) == [[5, 6, 0, 0, 0]]


def test_a_training_that_memory_cannot_hold_is_refused_before_its_first_step(monkeypatch):
    """Its plain loop was not checked as `finetune` is: with smollm2 in 2 GB its kernel was killed."""
    experiment = Experiment(max_steps=1, max_reviews=60)
    least = 20 * experiment.lm.parameters  # weights, a copy of them, gradients and two moments of 4 bytes
    monkeypatch.setattr("nbtools.pitfalls.experiment.held_memory", lambda: 0)
    monkeypatch.setattr("nbtools.pitfalls.experiment.free_memory", lambda: least)
    with pytest.raises(MachineError, match=r"needs .* GB of memory") as caught:
        experiment.train(iter(()), "none")
    assert "batch_size below 2" in caught.value.remedy and "lora" not in caught.value.remedy


def test_padded_rows_begin_and_end_with_end_of_text_and_nothing_else_is_learned():
    experiment = Experiment(max_reviews=40, block_size=64)
    assert len(experiment.reviews.validation) < 16  # fewer than the padded batch would hold
    assert find_mistake("missing-mask").measure(experiment).factor > 1
    batch = next(experiment.padded(fixed=True))
    assert batch["input_ids"].shape == (2, 64) and (batch["input_ids"][:, 0] == 0).all()
    assert torch.equal(batch["labels"] == IGNORED, batch["attention_mask"] == 0)


def test_bets_are_words_and_are_settled(capsys):
    pitfalls = Pitfalls()
    pitfalls.findings["double-shift"] = Finding("perplexity", 3.0, [])
    pitfalls.bet("double-shift", ...)
    assert "No bet yet" in capsys.readouterr().out and "You bet" not in pitfalls.settle("double-shift")
    pitfalls.bet("double-shift", "broken")
    assert pitfalls.settle("double-shift").endswith("You bet on “broken”: right.")
    pitfalls.bet("double-shift", "better")
    assert pitfalls.settle("double-shift").endswith("You bet on “better”.")
    for name, word in (("double-shift", "awful"), ("no-such", "better")):
        with pytest.raises(InputError):
            pitfalls.bet(name, word)


@pytest.mark.parametrize(
    ("factor", "word"),
    [(0.5, "better"), (0.98, "better"), (1.0, "no difference"), (1.1, "a little worse"), (1.9, "clearly worse"), (40, "broken")],
)
def test_verdicts(factor, word):
    assert Finding("", factor, []).verdict == word and word in WORDS


@pytest.mark.parametrize(
    ("factors", "word"),
    [
        ((1.03, 0.98, 1.02), "undecided"), ((1.001, 0.999, 1.0), "no difference"), ((1.10, 1.12, 1.11), "a little worse"),
        ((0.90, 0.91, 0.92), "better"), ((1.1,), "a little worse"),
    ],
)  # fmt: skip
def test_over_several_seeds_the_interval_decides(factors, word):
    found = over_seeds([Finding("", factor, []) for factor in factors])
    assert found.verdict == word and (found.interval is None) == (len(factors) == 1)
    if found.interval:
        assert found.interval[0] < found.factor < found.interval[1]


def test_factors_in_words():
    assert times(1.5) == "1.5 times as bad" and times(0.5) == "2 times as good" and "ten thousand" in times(1e9)


def test_every_mistake_is_described():
    assert len(MISTAKES) == 9 and len({one.name for one in MISTAKES}) == 9
    for one in MISTAKES:
        assert one.title and one.symptom and find_mistake(one.name) is one

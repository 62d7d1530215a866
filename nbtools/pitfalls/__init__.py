"""Classic mistakes of fine-tuning as switches on one small experiment, each measured; a learner predicts the outcome first."""

from __future__ import annotations

from dataclasses import fields
from types import EllipsisType
from typing import Any

from nbtools.errors import InputError
from nbtools.models import exclusive
from nbtools.pitfalls.experiment import Experiment
from nbtools.pitfalls.mistakes import MISTAKES, VERDICTS, Finding, Mistake
from nbtools.system import say
from nbtools.values import check_names

__all__ = ["MISTAKES", "WORDS", "Experiment", "Pitfalls", "find_mistake", "times"]

WORDS = tuple(word for _, word in VERDICTS)


class Pitfalls:
    """One experiment, the bets on its outcomes, and the findings. `settings` are the fields of `Experiment`."""

    def __init__(self, **settings: Any) -> None:
        check_names("Pitfalls", settings, [field.name for field in fields(Experiment) if field.name != "runs"])
        self.experiment = Experiment(**settings)
        self.bets: dict[str, str] = {}
        self.findings: dict[str, Finding] = {}

    def bet(self, name: str, word: str | EllipsisType) -> None:
        """Predict how `name` will come out: one of WORDS, or `...` for no bet yet. Raises InputError for anything else."""
        mistake = find_mistake(name)
        if isinstance(word, EllipsisType):
            say(f"No bet yet: put one of {', '.join(map(repr, WORDS))} in the place of the dots.")
            return
        if word not in WORDS:
            raise InputError(f"{word!r} is not a possible outcome.", f"Choose one of: {', '.join(WORDS)}.")
        self.bets[name] = word
        say(f"Your bet on “{mistake.title}”: {word}.")

    def measure(self, name: str) -> Finding:
        """Return the cost of the mistake `name`, measured at the first call."""
        if name not in self.findings:
            mistake = find_mistake(name)
            with exclusive(self.experiment.lm.model):
                self.findings[name] = mistake.measure(self.experiment)
        return self.findings[name]

    def settle(self, name: str) -> str:
        """The outcome and the bet in one line."""
        finding = self.measure(name)
        outcome = f"{finding.headline}: {times(finding.factor)}, {finding.verdict}."
        if name not in self.bets:
            return outcome
        return f"{outcome} You bet on “{self.bets[name]}”{': right' if self.bets[name] == finding.verdict else ''}."


def times(factor: float) -> str:
    """ "1.53 times as bad", or how many times better."""
    if factor > 1e4:
        return "over ten thousand times as bad"
    return f"{factor:.3g} times as bad" if factor >= 0.995 else f"{1 / factor:.3g} times as good"


def find_mistake(name: str) -> Mistake:
    """Return the mistake called `name`. Raises InputError for an unknown name."""
    for mistake in MISTAKES:
        if mistake.name == name:
            return mistake
    raise InputError(f"There is no mistake called {name!r}.", f"Choose one of: {', '.join(mistake.name for mistake in MISTAKES)}.")

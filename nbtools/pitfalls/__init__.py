"""Classic mistakes of fine-tuning as switches on one small experiment, each measured; a learner predicts the outcome first."""

from __future__ import annotations

from dataclasses import fields
from types import EllipsisType
from typing import Any

from nbtools.errors import InputError
from nbtools.models import exclusive
from nbtools.pitfalls.experiment import Experiment
from nbtools.pitfalls.mistakes import MISTAKES, VERDICTS, Finding, Mistake, over_seeds
from nbtools.system import say
from nbtools.values import CHECKS, check_names

__all__ = ["MISTAKES", "WORDS", "Experiment", "Pitfalls", "find_mistake", "range_of", "times"]

WORDS = tuple(word for _, word in VERDICTS)
CLEAR = 1.5  # a factor above it, or below its inverse, is far beyond what another order of the reviews changes


class Pitfalls:
    """One experiment, the bets on its outcomes, and the findings.

    seeds     of the order of the reviews, that a mistake is trained with where one seed leaves less than a factor of CLEAR
    settings  the fields of `Experiment`; its seed is the first

    Raises InputError for an invalid value.
    """

    def __init__(self, *, seeds: int = 3, **settings: Any) -> None:
        check_names("Pitfalls", settings, [field.name for field in fields(Experiment) if field.name != "runs"])
        self.seeds = CHECKS["seeds"]("seeds", seeds)
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
                self.findings[name] = self._over_seeds(mistake) if mistake.by_chance else mistake.measure(self.experiment)
        return self.findings[name]

    def _over_seeds(self, mistake: Mistake) -> Finding:
        """Measure with one seed, and with the others too where the difference might be chance."""
        first, experiment = self.experiment.seed, self.experiment
        findings = [mistake.measure(experiment)]
        if 1 / CLEAR < findings[0].factor < CLEAR:
            try:
                for experiment.seed in range(first + 1, first + self.seeds):
                    findings.append(mistake.measure(experiment))
            finally:
                experiment.seed = first
        return over_seeds(findings)

    def settle(self, name: str) -> str:
        """The outcome and the bet in one line."""
        finding = self.measure(name)
        outcome = f"{finding.headline}: {times(finding.factor)}{range_of(finding)}, {finding.verdict}."
        if name not in self.bets:
            return outcome
        return f"{outcome} You bet on “{self.bets[name]}”{': right' if self.bets[name] == finding.verdict else ''}."


def range_of(finding: Finding) -> str:
    """ " (0.99 to 1.05 over 3 seeds)", the 95 % confidence interval of the factor; empty for a single seed."""
    if finding.interval is None:
        return ""
    low, high = finding.interval
    return f" ({low:.3g} to {high:.3g} over {len(finding.factors)} seeds)"


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

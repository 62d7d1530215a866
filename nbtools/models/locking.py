"""One user of a model at a time: traces, ablation, evaluation mode and training change a model that other threads may be using."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from nbtools.errors import ModelError

if TYPE_CHECKING:
    from nbtools.models.loading import LanguageModel

Function = TypeVar("Function", bound=Callable[..., Any])


class ModelLock:
    """A re-entrant lock, and how often the weights that it guards have been trained."""

    def __init__(self) -> None:
        self.trainings = 0
        self._lock, self._owner = threading.RLock(), 0

    def held_here(self) -> bool:
        """Whether this thread holds the lock."""
        return self._owner == threading.get_ident()

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self._lock:
            before, self._owner = self._owner, threading.get_ident()
            try:
                yield
            finally:
                self._owner = before


_locks: weakref.WeakKeyDictionary[Any, ModelLock] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def lock_of(model: Any) -> ModelLock:
    """The lock of a torch module. Whatever shares the inner transformer shares it: a second LanguageModel, another head, adapters."""
    if hasattr(model, "get_base_model"):  # peft's wrapper around the library's model
        model = model.get_base_model()
    inner = getattr(model, "base_model", model)
    with _making:
        return _locks.setdefault(inner, ModelLock())


@contextmanager
def exclusive(model: Any) -> Iterator[None]:
    """Within this context no other thread that asks for it uses `model`. Re-entrant."""
    with lock_of(model).hold():
        yield


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within this context `model` belongs to this thread and is in evaluation mode; afterwards each of its modules is as it was."""
    with exclusive(model):
        training = [part for part in model.modules() if part.training]
        model.eval()
        try:
            yield
        finally:
            for part in training:
                part.training = True


def exclusively(function: Function) -> Function:
    """Decorates a function whose first argument is a LanguageModel: its model belongs to the calling thread until it returns."""

    @functools.wraps(function)
    def alone(*arguments: Any, **keywords: Any) -> Any:
        model = getattr(arguments[0] if arguments else keywords.get("lm"), "model", None)
        with nullcontext() if model is None else exclusive(model):  # without a model the function says itself what is wrong
            return function(*arguments, **keywords)

    return alone  # type: ignore[return-value]


class Turns:
    """A use of a model in many turns, such as a text that is written token by token. Between turns others may use the model.

    If it is trained in between, the next turn raises ModelError: what was kept of the earlier ones is of other weights.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.name, self.lock = lm.name, lock_of(lm.model)
        self._trainings = self.lock.trainings

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self.lock.hold():
            if self.lock.trainings != self._trainings:
                raise ModelError(f"{self.name} was trained while this text was being written.", "Start the text again.")
            yield


def note_training(model: Any) -> None:
    """Weights of `model` have changed: texts that were begun before do not go on."""
    lock_of(model).trainings += 1

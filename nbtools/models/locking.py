"""Locks that let one thread use a model at a time, because traces, ablation, evaluation mode and training change the model."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from nbtools.errors import ModelError

if TYPE_CHECKING:
    from nbtools.models.loading import LanguageModel

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(eq=False)
class ModelLock:
    """A re-entrant lock, and the number of times that the weights it protects have been trained."""

    turn: Any = field(default_factory=threading.RLock)
    trainings: int = 0


_locks: weakref.WeakKeyDictionary[Any, ModelLock] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def lock_of(model: Any) -> ModelLock:
    """Return the lock of a torch module; modules with the same base model (another head, LoRA adapters) share one lock."""
    if hasattr(model, "get_base_model"):  # peft's wrapper around the transformers model
        model = model.get_base_model()
    inner = getattr(model, "base_model", model)
    with _making:
        return _locks.setdefault(inner, ModelLock())


def exclusive(model: Any) -> AbstractContextManager[Any]:
    """Within this context, other threads that lock `model` wait. Re-entrant."""
    return lock_of(model).turn  # type: ignore[no-any-return]


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within this context, `model` is locked and in evaluation mode; afterwards each of its modules is in its earlier mode."""
    with exclusive(model):
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True


def exclusively(function: Function) -> Function:
    """Decorator for a function whose first argument is a LanguageModel: the model is locked until the function returns."""

    @functools.wraps(function)
    def locked(*arguments: Any, **keywords: Any) -> Any:
        model = getattr(arguments[0] if arguments else keywords.get("lm"), "model", None)
        with nullcontext() if model is None else exclusive(model):  # without a model, the function itself raises the error
            return function(*arguments, **keywords)

    return locked  # type: ignore[return-value]


class Turns:
    """Locks a model for one step at a time, for example while a text is generated; between steps other threads may use it.

    If the model is trained in between, the next step raises ModelError, because the cached keys and values belong to other weights.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.name, self.lock = lm.name, lock_of(lm.model)
        self._trainings = self.lock.trainings

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self.lock.turn:
            if self.lock.trainings != self._trainings:
                raise ModelError(f"{self.name} was trained while this text was being written.", "Start the text again.")
            yield


def note_training(model: Any) -> None:
    """Record that the weights of `model` have changed; texts whose generation has begun are not continued."""
    lock_of(model).trainings += 1

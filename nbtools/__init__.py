"""The tools behind the course's notebooks: load, sample, fine-tune and compare causal language models.

Names are imported when they are first used, so that `import nbtools` costs milliseconds and torch loads only on demand.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AttentionExplorer": "widgets",
    "AttentionTrace": "attention",
    "CourseError": "errors",
    "Estimate": "training",
    "LanguageModel": "models",
    "Microscope": "widgets",
    "ParameterForm": "widgets",
    "PromptLab": "widgets",
    "TokenInspector": "widgets",
    "TrainingMonitor": "widgets",
    "check": "exercises",
    "doctor": "health",
    "estimate": "training",
    "evaluate": "evaluation",
    "finetune": "training",
    "generate": "generation",
    "hint": "exercises",
    "load_model": "models",
    "load_reviews": "data",
    "pack": "data",
    "save_model": "models",
    "stream": "generation",
    "sweep": "runs",
    "trace_attention": "attention",
    "tuned_model": "training",
    "write_metrics": "training",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nbtools' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nbtools.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

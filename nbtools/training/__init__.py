"""Fine-tune a causal language model with Hugging Face's Trainer, so that an interruption at any moment loses little."""

from nbtools.training.choices import TrainingChoices
from nbtools.training.config import FinetuneConfig
from nbtools.training.estimate import Estimate, estimate
from nbtools.training.finetune import Finetuned, finetune
from nbtools.training.hub import push_model, write_card
from nbtools.training.metrics import SCHEMA, read_metrics, write_metrics
from nbtools.training.quick import tuned_model

__all__ = [
    "SCHEMA",
    "Estimate",
    "FinetuneConfig",
    "Finetuned",
    "TrainingChoices",
    "estimate",
    "finetune",
    "push_model",
    "read_metrics",
    "tuned_model",
    "write_card",
    "write_metrics",
]

"""Fine-tune a causal language model with Hugging Face's Trainer, so that a stop at any moment loses little and breaks nothing."""

from nbtools.training.config import FinetuneConfig
from nbtools.training.estimate import Estimate, estimate
from nbtools.training.finetune import Finetuned, finetune
from nbtools.training.quick import tuned_model
from nbtools.training.record import SCHEMA, read_metrics, write_metrics
from nbtools.training.sharing import push_model, write_card

__all__ = [
    "SCHEMA",
    "Estimate",
    "FinetuneConfig",
    "Finetuned",
    "estimate",
    "finetune",
    "push_model",
    "read_metrics",
    "tuned_model",
    "write_card",
    "write_metrics",
]

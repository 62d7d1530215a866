"""Live views of what the rest of the package computes. Each has a static form for stored outputs and for places without widgets."""

from nbtools.widgets.attention_explorer import AttentionExplorer
from nbtools.widgets.microscope import Microscope
from nbtools.widgets.parameter_form import ParameterForm
from nbtools.widgets.prompt_lab import PromptLab
from nbtools.widgets.token_inspector import TokenInspector
from nbtools.widgets.training_monitor import TrainingMonitor

__all__ = ["AttentionExplorer", "Microscope", "ParameterForm", "PromptLab", "TokenInspector", "TrainingMonitor"]

"""Live views of what the other rooms computed. Each has a still form for stored outputs and for places without widgets."""

from nbtools.widgets.prompt_lab import PromptLab

__all__ = ["PromptLab"]

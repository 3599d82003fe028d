"""Evaluate vision-language models: `vlmbench.evaluate(model, tasks)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlmbench.runs.evaluate import evaluate

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate"]


def __getattr__(name: str) -> object:
    if name == "evaluate":  # on demand: `vlmbench --help` does without what it imports
        from vlmbench.runs.evaluate import evaluate

        return evaluate
    raise AttributeError(f"module 'vlmbench' has no attribute {name!r}")

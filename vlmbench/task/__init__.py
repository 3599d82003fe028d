"""What is asked, and what is right."""

from vlmbench.task.task import Task

__all__ = ["Task"]

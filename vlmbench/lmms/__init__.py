"""lmms-eval both ways: our engine as one of its models, its tasks in our runner.

Nothing here is imported unless lmms-eval asks for the model or a run names a task `lmms:NAME`.
"""

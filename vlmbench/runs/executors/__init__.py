"""Executors of a run's workers: each module is an `Executor`."""

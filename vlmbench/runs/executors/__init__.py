"""Where the workers of a run live: each module is an `Executor`."""

"""Where a run's workers live."""

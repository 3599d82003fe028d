"""The format of a run's folder: nobody else names a file or a key of it."""

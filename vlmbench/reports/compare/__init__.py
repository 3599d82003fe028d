"""Two runs on the samples that they have in common."""

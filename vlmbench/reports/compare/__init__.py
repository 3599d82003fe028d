"""Paired comparison of two runs on the samples that they share."""

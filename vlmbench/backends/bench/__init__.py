"""Latency, and where time goes, on work shaped like the tasks."""

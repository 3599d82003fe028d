"""Latency and profiles of backends, on workloads shaped like the tasks."""

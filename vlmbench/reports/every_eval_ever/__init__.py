"""A run in the format of Every Eval Ever 0.3.0 (arXiv 2606.14516)."""

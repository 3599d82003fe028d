"""The final answer in a response: what stands outside a model's thought and its wrapping."""

from vlmbench.metrics.final_answer.extraction import VERSION, Found, extract, is_plain

__all__ = ["VERSION", "Found", "extract", "is_plain"]

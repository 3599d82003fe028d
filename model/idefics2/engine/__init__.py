"""Many requests to one model: see `engine.Engine`."""

from idefics2.engine.deferred import Deferred, defer
from idefics2.engine.engine import Engine
from idefics2.engine.limits import Budget
from idefics2.engine.request import Picture, Request, Result, Timings, pictures_of
from idefics2.engine.stats import Work

__all__ = [
    "Budget",
    "Deferred",
    "Engine",
    "Picture",
    "Request",
    "Result",
    "Timings",
    "Work",
    "defer",
    "pictures_of",
]

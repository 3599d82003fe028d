"""Many requests to one model: see `engine.Engine`."""

from idefics2.engine.engine import Engine
from idefics2.engine.limits import Limits
from idefics2.engine.request import LazyImage, Request, Result, Timings, images_of, lazy_image
from idefics2.engine.stats import EngineStats

__all__ = [
    "Engine",
    "EngineStats",
    "LazyImage",
    "Limits",
    "Request",
    "Result",
    "Timings",
    "images_of",
    "lazy_image",
]

"""How a backend runs its model; which of these it uses, each backend says itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vlmbench.errors import VlmbenchError, no_such
from vlmbench.schema import Json

DTYPES = ("auto", "float32", "bfloat16", "float16")

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


COUNTS = {
    **{"batch_size": 1, "concurrency": 1, "max_side": 1},
    **{"max_retries": 0, "seed": 0, "retry_truncated": 0},
}
"""Whole numbers, with the least that each may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be set on the command line or in a call. Nothing here belongs to the prompt."""

    batch_size: int | None = None
    """Requests that a local model works on at once, at most; None: as the backend finds best."""

    cache_gib: float | None = None
    """GiB for keys and values; None: 1 on a CPU, and on a GPU a part of what is free."""

    deterministic: bool = False
    """No answer depends on what else is asked, at the price of speed."""

    device: str = "auto"
    """"cpu", "cuda", "cuda:1", ...; "auto": the first accelerator, else the CPU."""

    dtype: str = "auto"
    """One of `DTYPES`; "auto": the checkpoint's on an accelerator, float32 on a CPU."""

    split_images: bool | None = None
    """Cut each picture in four and show it whole as well; None: as the checkpoint says."""

    temperature: float = 0.0
    """0: greedy decoding."""

    top_p: float = 1.0
    """Probability mass that sampling keeps, in (0, 1]."""

    seed: int = 0
    """Of sampling; greedy decoding has nothing to seed."""

    concurrency: int = 16
    """Requests that a server is given at once."""

    timeout_s: float = 600.0
    """For one attempt at one request, from reading its pictures to the answer's last byte."""

    max_retries: int = 5
    """Further attempts at a request that a server failed to answer."""

    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key."""

    extra_body: Mapping[str, Json] | None = None
    """Further fields of each request to a server, such as {"reasoning_effort": "low"}."""

    system: str | None = None
    """A system message before each conversation; None: none."""

    retry_truncated: int = 0
    """Times that a cut-off answer is asked for again, each with twice the tokens of the last."""

    max_side: int | None = None
    """Pixels to which the longer side of larger pictures is scaled down; None: as they are."""

    device_map: str | None = None
    """"auto": the layers are spread over all devices, for models larger than one (accelerate)."""

    trust_remote_code: bool = False
    """Run the Python files that a checkpoint brings along, for architectures of its own."""

    def __post_init__(self) -> None:
        for name, least in COUNTS.items():
            value = getattr(self, name)
            if value is None and name in ("batch_size", "max_side"):
                continue
            if type(value) is not int or value < least:
                raise VlmbenchError(f"{name} is {value!r}, must be a whole number from {least}")
        if self.seed >= 2**63:
            raise VlmbenchError(f"seed is {self.seed}, must be below 2**63")
        if not _is_number(self.temperature) or self.temperature < 0:
            raise VlmbenchError(f"temperature is {self.temperature!r}, must be a number from 0")
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise VlmbenchError(f"top_p is {self.top_p!r}, must be above 0 and at most 1")
        if self.top_p < 1 and self.temperature == 0:
            raise VlmbenchError("top_p does nothing in greedy decoding: set a temperature above 0")
        if not _is_number(self.timeout_s) or self.timeout_s <= 0:
            raise VlmbenchError(f"timeout_s is {self.timeout_s!r}, must be a number above 0")
        if self.cache_gib is not None and not (_is_number(self.cache_gib) and self.cache_gib > 0):
            raise VlmbenchError(f"cache_gib is {self.cache_gib!r}, must be a number above 0")
        for name in ("deterministic", "trust_remote_code"):
            if not isinstance(getattr(self, name), bool):
                raise VlmbenchError(f"{name} is {getattr(self, name)!r}, must be true or false")
        if not isinstance(self.extra_body, Mapping | None):
            raise VlmbenchError(f"extra_body is {self.extra_body!r}, must be a JSON object")
        if self.device_map not in (None, *DEVICE_MAPS):
            raise no_such("device_map", str(self.device_map), DEVICE_MAPS)
        if self.device_map is not None and self.device != "auto":
            raise VlmbenchError("device_map spreads a model over all devices: leave device out")
        if self.dtype not in DTYPES:
            raise no_such("dtype", str(self.dtype), DTYPES)
        if not isinstance(self.split_images, bool | None):
            raise VlmbenchError(f"split_images is {self.split_images!r}, must be true or false")
        for name in ("device", "api_key_env"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise VlmbenchError(f"{name} is {getattr(self, name)!r}, must be a name")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

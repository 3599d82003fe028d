"""How a backend runs its model: a dataclass a backend, whose fields become flags of `run`.

Those of the built-in backends stand here, so that the command line knows them without importing a
backend. Another package's backend holds its own subclass of `Settings` in its module, and its
fields are given by `--backend-arg NAME=VALUE`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vlmbench.errors import VlmbenchError, no_such
from vlmbench.schema import Json

DTYPES = ("auto", "float32", "bfloat16", "float16")

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Those of accelerate."""

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What values a setting takes, and how one is read from the command line."""

    must_be: str
    """Error wording for a wrong value: "a number above 0"."""

    fits: Callable[[Any], bool]
    read: Callable[[str], Json]
    """Raises: ValueError for text that is no such value."""

    choices: tuple[str, ...] = ()


def whole(least: int, most: float = math.inf, *, limit: str = "") -> Kind:
    """Whole numbers in a range; `limit` is how a message writes the upper end."""
    return Kind(
        must_be=f"a whole number from {least}" + (limit and f", {limit}"),
        fits=lambda value: type(value) is int and least <= value <= most,
        read=int,
    )


def number(must_be: str, fits: Callable[[float], bool]) -> Kind:
    """Finite numbers for which `fits` holds."""

    def is_such(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and fits(value)

    return Kind(must_be=must_be, fits=is_such, read=float)


def one_of(*choices: str) -> Kind:
    return Kind(
        must_be=f"one of {', '.join(choices)}",
        fits=lambda value: value in choices,
        read=str,
        choices=choices,
    )


def _json_object(text: str) -> Json:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text} is no JSON object")
    return value


JSON_OBJECT = Kind(
    must_be="a JSON object", fits=lambda value: isinstance(value, Mapping), read=_json_object
)

ASSIGNMENTS = Kind(
    must_be="NAME=VALUE", fits=lambda value: isinstance(value, Mapping), read=_json_object
)
"""Names with values, each given by a flag of its own: `--flag NAME=VALUE --flag NAME=VALUE`."""

TEXT = Kind(must_be="a text", fits=lambda value: isinstance(value, str), read=str)

NAME = Kind(must_be="a name", fits=lambda value: isinstance(value, str) and bool(value), read=str)

YES_OR_NO = Kind(
    must_be="true or false", fits=lambda value: isinstance(value, bool), read=json.loads
)


def setting(default: Any, kind: Kind, *, help: str, metavar: str = "", flag: str = "") -> Any:
    """A field of a `Settings` dataclass; None may be its default, and stands for "not given".

    `help`: the flag's. `flag`: its name where it is not the field's.
    """
    about = {"kind": kind, "help": help, "metavar": metavar, "flag": flag}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be set of a backend: nothing, unless a subclass adds fields.

    Raises: VlmbenchError for a value that a field's kind does not take.
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            value, kind = getattr(self, one.name), one.metadata.get("kind")
            if kind is None or kind.fits(value) or (value is None and one.default is None):
                continue
            if kind.choices:
                raise no_such(one.name, str(value), kind.choices)
            raise VlmbenchError(f"{one.name} is {value!r}, must be {kind.must_be}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings(Settings):
    """How the next token is drawn."""

    temperature: float = setting(
        0.0,
        number("a number from 0", lambda value: value >= 0),
        metavar="T",
        help="of sampling (default: 0, greedy decoding)",
    )
    top_p: float = setting(
        1.0,
        number("above 0 and at most 1", lambda value: 0 < value <= 1),
        metavar="P",
        help="probability mass that sampling keeps (default: 1)",
    )
    seed: int = setting(
        0, whole(0, LARGEST_SEED, limit="below 2**63"), metavar="N", help="of sampling (default: 0)"
    )

    def __post_init__(self) -> None:
        Settings.__post_init__(self)  # not by super(), which knows no class with slots
        if self.top_p < 1 and self.temperature == 0:
            raise VlmbenchError("top_p does nothing in greedy decoding: set a temperature above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSettings(SamplingSettings):
    """How pictures are shown as well."""

    max_side: int | None = setting(
        None, whole(1), metavar="PIXELS", help="scale larger pictures down (default: as they are)"
    )


def _system() -> Any:
    return setting(
        None, TEXT, metavar="TEXT", help="a system message before the question (default: none)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings(PictureSettings):
    """Settings of a model in this process."""

    batch_size: int | None = setting(
        None, whole(1), metavar="N", help="requests at once, at most (default: as fits)"
    )
    device: str = setting(
        "auto", NAME, metavar="NAME", help="cpu, cuda, cuda:1 (default: the first accelerator)"
    )
    dtype: str = setting(
        "auto",
        one_of(*DTYPES),
        help="default: bfloat16 on an accelerator (float16 on one without it), float32 on a CPU",
    )
    adapter: str | None = setting(
        None,
        NAME,
        metavar="DIR_OR_ID",
        help="LoRA or DoRA of peft to merge (default: the one in the checkpoint's folder)",
    )
    processor: str | None = setting(
        None,
        NAME,
        metavar="DIR_OR_ID",
        help="tokenizer and image processor (default: the checkpoint's)",
    )
    split_images: bool | None = setting(
        None,
        YES_OR_NO,
        flag="split",
        help="cut each picture in four and show it whole as well (default: as the checkpoint says)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Idefics2Settings(LocalSettings):
    """Settings of `idefics2`'s engine."""

    cache_gib: float | None = setting(
        None,
        number("a number above 0", lambda value: value > 0),
        metavar="G",
        help="of the KV cache (default: 1 on a CPU, on a GPU a part of what is free)",
    )
    deterministic: bool = setting(
        False, YES_OR_NO, help="no answer depends on what else is asked (slower)"
    )
    keep_visual_tokens: float = setting(
        1.0,
        number("a share above 0 and at most 1", lambda value: 0 < value <= 1),
        metavar="SHARE",
        help="keep this share of each crop's visual tokens, drawn at random by --seed: a control "
        "(default: 1)",
    )
    quantize: str | None = setting(
        None, one_of("int8"), help="weights of 8 bits, made when they are loaded (torchao)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersSettings(LocalSettings):
    """Settings of a transformers model."""

    system: str | None = _system()
    processor_arg: Mapping[str, Json] | None = setting(
        None,
        ASSIGNMENTS,
        metavar="NAME=VALUE",
        help="a setting of its image processor: max_pixels=200704, size.longest_edge=756 "
        "(default: as the checkpoint says)",
    )
    device_map: str | None = setting(
        None, one_of(*DEVICE_MAPS), help="spread a model over all devices (accelerate)"
    )
    trust_remote_code: bool = setting(
        False, YES_OR_NO, help="run the Python files that a checkpoint brings along"
    )
    vision_cache_gib: float = setting(
        1.0,
        number("a number from 0", lambda value: value >= 0),
        metavar="G",
        help="of vision features kept for further questions about a picture; 0: none (default: 1)",
    )

    def __post_init__(self) -> None:
        LocalSettings.__post_init__(self)
        if self.device_map is not None and self.device not in ("auto", "cuda"):
            raise VlmbenchError("device_map spreads a model over all devices: leave device out")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(PictureSettings):
    """Settings of an OpenAI API server."""

    system: str | None = _system()
    extra_body: Mapping[str, Json] | None = setting(
        None,
        JSON_OBJECT,
        metavar="JSON",
        help='further fields of each request to a server, such as {"reasoning_effort": "low"}',
    )
    retry_truncated: int = setting(
        0,
        whole(0),
        metavar="N",
        help="ask a server for a cut-off answer again, N times, each with twice the tokens "
        "(default: 0)",
    )

    concurrency: int = setting(
        16, whole(1), metavar="N", help="requests at once to a server (default: 16)"
    )
    timeout_s: float = setting(
        600.0,
        number("a number above 0", lambda value: value > 0),
        flag="timeout",
        metavar="SECONDS",
        help="of one attempt at one request (default: 600)",
    )
    max_retries: int = setting(
        5, whole(0), metavar="N", help="further attempts at a request (default: 5)"
    )
    api_key_env: str = setting(
        "OPENAI_API_KEY", NAME, metavar="NAME", help="variable that holds a server's key"
    )


BUILT_IN = (Idefics2Settings, TransformersSettings, ServerSettings)
"""All settings that have a flag of their own, those of their superclasses included."""

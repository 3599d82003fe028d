"""Which backend runs a model: `BACKEND:ARGUMENT`, built in or installed from elsewhere."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, fields
from typing import Any, NamedTuple, Protocol, cast

from vlmbench.backends.protocol import Backend, Forecast
from vlmbench.backends.settings import BUILT_IN as BUILT_IN_SETTINGS
from vlmbench.backends.settings import Settings
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.schema import Json

BUILT_IN: Mapping[str, str] = {
    "idefics2": "PATH_OR_HUB_ID",
    "transformers": "PATH_OR_HUB_ID",
    "openai": "URL#MODEL",
    "replay": "FILE_OR_RUN",
    "constant": "TEXT",
}
"""Name to what its argument is; its module is imported only when it is asked for."""

ELSEWHERE = {"replay": "vlmbench.runs.replay"}
"""Built-in backends whose module is not `vlmbench.backends.NAME`, since they read run folders."""

BLIND = ("replay", "constant")
"""Built-in backends that look at no picture."""

SERVERS = ("vllm", "sglang", "lmdeploy", "tgi", "ollama", "llamacpp", "litellm", "trtllm")
"""Names that other harnesses have for backends which are servers here."""

CHECKPOINTS = ("hf", "huggingface", "hf-multimodal", "qwen2_vl", "llava", "llava_hf", "internvl2")
"""Names that other harnesses have for backends which load a checkpoint with transformers."""

ENTRY_POINTS = "vlmbench.backends"
"""Group whose entry points name a backend: each loads to a `BackendModule`."""


class BackendModule(Protocol):
    """What a backend's module holds; to import it loads no model and no heavy package.

    `check`, `identity` and `forecast` may be left out. `REMEMBERS = True` says that a request is
    answered faster when it comes again, as by a server that keeps what it was asked.
    """

    Settings: type[Settings]
    """A frozen dataclass: its fields are what can be set, and `open` gets one of it."""

    def check(self, argument: str) -> None:
        """Look at the argument without loading anything.

        Raises: VlmbenchError for what can be seen so: a malformed URL, a file that is not there.
        """

    def identity(self, argument: str, settings: Any) -> Mapping[str, Json]:
        """What must be equal for a run to be resumed: digests, what settings come to."""

    def forecast(self, argument: str, settings: Any) -> Forecast:
        """What requests would cost."""

    def open(self, argument: str, settings: Any) -> Backend:
        """The backend, ready to answer.

        Raises: VlmbenchError for what the user can mend: no such checkpoint, a server that is down.
        """


def open_backend(spec: str, **settings: Any) -> Backend:
    """The backend of a model such as "idefics2:tiny", ready to answer.

    `settings` are fields of its `Settings`; one that is None counts as not given.

    Raises: VlmbenchError as `check` does, for a missing package, and for what the backend itself
    finds wrong.
    """
    found = _find(spec, settings)
    with _naming_what_is_missing(found.name):
        return found.module.open(found.argument, found.settings)


def check(spec: str, settings: Mapping[str, Any]) -> None:
    """Raises: VlmbenchError for what is wrong with a model's name and settings before it is loaded.

    That is an unknown backend, a missing or wrong argument, and a setting that is unknown, out of
    range, or of no use to the backend.
    """
    _find(spec, settings)


def sees_pictures(spec: str) -> bool:
    """False where a request costs the same whatever its pictures."""
    return spec.partition(":")[0] not in BLIND


def remembers(spec: str) -> bool:
    """True if a request is answered faster when it comes again."""
    return bool(getattr(_module(spec.partition(":")[0]), "REMEMBERS", False))


def takes_time(spec: str) -> bool:
    """False where answers are given without a model: how long that takes is no one's latency."""
    return spec.partition(":")[0] not in BLIND


def uses(spec: str, setting: str) -> bool:
    """True if a model's backend has a use for a setting."""
    return hasattr(_find(spec, {}).settings, setting)


def read(spec: str, texts: Mapping[str, str]) -> dict[str, Json]:
    """The values of a backend's settings that were written as text: {"num_beams": "4"}.

    Raises: VlmbenchError as `check` does, and for text that is no value of that setting.
    """
    name = spec.partition(":")[0]
    known = _fields(_module(name).Settings)
    return {setting: _read(name, setting, text, known) for setting, text in texts.items()}


def _read(backend: str, setting: str, text: str, known: Mapping[str, Field[Any]]) -> Json:
    if setting not in known:
        raise _no_use(backend, setting, known)
    kind = known[setting].metadata.get("kind")
    try:
        value: Json = (kind.read if kind else json.loads)(text)
    except ValueError:
        if kind:
            raise VlmbenchError(f"{setting} is {text!r}, must be {kind.must_be}") from None
        return text
    return value


def identity(spec: str, settings: Mapping[str, Any]) -> dict[str, Json]:
    """What makes the model of a run the same model, without loading it.

    Raises: VlmbenchError as `check` does, and for a checkpoint or file that is not there.
    """
    found = _find(spec, settings)
    if not hasattr(found.module, "identity"):
        own = _fields(type(found.settings)).keys() - _built_in_settings()
        return {"spec": spec, **_used(found, "dtype", "split_images", *sorted(own))}
    with _naming_what_is_missing(found.name):
        return {"spec": spec, **found.module.identity(found.argument, found.settings)}


def generation(spec: str, settings: Mapping[str, Any]) -> dict[str, Json]:
    """How a run's answers are drawn, defaults included."""
    return _used(_find(spec, settings), "temperature", "top_p", "seed")


def forecast(spec: str, settings: Mapping[str, Any]) -> Forecast | None:
    """What requests would cost; None where the backend cannot tell.

    Raises: VlmbenchError as `identity` does.
    """
    found = _find(spec, settings)
    if not hasattr(found.module, "forecast"):
        return None
    with _naming_what_is_missing(found.name):
        return found.module.forecast(found.argument, found.settings)


def _used(found: _Found, *names: str) -> dict[str, Json]:
    used = found.settings
    return {name: getattr(used, name) for name in names if hasattr(used, name)}


class _Found(NamedTuple):
    name: str
    module: BackendModule
    argument: str
    settings: Settings


def _find(spec: str, given: Mapping[str, Any]) -> _Found:
    name, _, argument = spec.partition(":")
    module = _module(name)
    if not argument:
        form = f"{name}:{BUILT_IN.get(name, 'ARGUMENT')}"
        raise VlmbenchError(f"the model {spec!r} lacks its second half; write {form}")
    named = {setting: value for setting, value in given.items() if value is not None}
    known = _fields(module.Settings)
    for setting in named:
        if setting not in known:
            raise _no_use(name, setting, known)
    settings = module.Settings(**named)
    if hasattr(module, "check"):
        with _naming_what_is_missing(name):
            module.check(argument)
    return _Found(name, module, argument, settings)


def _no_use(backend: str, setting: str, known: Mapping[str, Field[Any]]) -> VlmbenchError:
    everywhere = _built_in_settings()
    if setting not in everywhere:
        return no_such("setting", setting, everywhere | known.keys())
    uses = f"it uses: {', '.join(known)}" if known else "it uses none"
    return VlmbenchError(f"the backend {backend!r} has no use for the setting {setting}; {uses}")


def _fields(settings: type[Settings]) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(settings)}


def _built_in_settings() -> set[str]:
    return {name for settings in BUILT_IN_SETTINGS for name in _fields(settings)}


def _module(name: str) -> BackendModule:
    if name in BUILT_IN:
        with _naming_what_is_missing(name):
            place = ELSEWHERE.get(name, f"vlmbench.backends.{name}")
            return cast(BackendModule, importlib.import_module(place))
    installed = importlib.metadata.entry_points(group=ENTRY_POINTS)
    for point in installed.select(name=name):
        try:
            module = point.load()
        except (ImportError, AttributeError) as error:
            where = f"the backend {name!r} (entry point {point.value})"
            raise VlmbenchError(f"{where} does not load: {error}") from error
        own = getattr(module, "Settings", None)
        if not (isinstance(own, type) and issubclass(own, Settings) and hasattr(module, "open")):
            raise VlmbenchError(
                f"entry point {point.value}: it needs open(), and a dataclass Settings that is one "
                "of vlmbench.backends.settings.Settings"
            )
        return cast(BackendModule, module)
    if name in SERVERS:
        raise VlmbenchError(f"no backend named {name!r}; serve the model and give openai:URL#MODEL")
    if name in CHECKPOINTS:
        raise VlmbenchError(f"no backend named {name!r}; give transformers:PATH_OR_HUB_ID")
    raise no_such("backend", name, {*BUILT_IN, *installed.names}, "(a model is BACKEND:ARGUMENT)")


@contextmanager
def _naming_what_is_missing(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise VlmbenchError(
            f"the backend {name!r} needs the package {error.name}, which is not installed"
        ) from error
    except (ImportError, OSError) as error:  # a library of a package, a file that cannot be read
        reason = " ".join(str(error).split())
        raise VlmbenchError(f"the backend {name!r} does not load: {reason}") from error

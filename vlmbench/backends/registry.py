"""Which backend runs a model: `BACKEND:ARGUMENT`, built in or installed from elsewhere."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NamedTuple, Protocol, cast

from vlmbench.backends.protocol import Backend, Forecast
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
"""Name to what its argument is; `vlmbench.backends.NAME` is imported only when it is asked for."""

BLIND = ("replay", "constant")
"""Built-in backends that look at no picture."""

ENTRY_POINTS = "vlmbench.backends"
"""Group whose entry points name a backend: each loads to a `BackendModule`."""


class BackendModule(Protocol):
    """What a backend's module holds; to import it loads no model and no heavy package.

    `check`, `identity` and `forecast` may be left out.
    """

    SETTINGS: tuple[str, ...]
    """The fields of `Settings` that the backend uses; the others are refused."""

    def check(self, argument: str) -> None:
        """Look at the argument without loading anything.

        Raises: VlmbenchError for what can be seen so: a malformed URL, a file that is not there.
        """

    def identity(self, argument: str, settings: Settings) -> Mapping[str, Json]:
        """What must be equal for a run to be resumed: digests, what settings come to."""

    def forecast(self, argument: str, settings: Settings) -> Forecast:
        """What requests would cost."""

    def open(self, argument: str, settings: Settings) -> Backend:
        """The backend, ready to answer.

        Raises: VlmbenchError for what the user can mend: no such checkpoint, a server that is down.
        """


def open_backend(spec: str, **settings: Any) -> Backend:
    """The backend of a model such as "idefics2:tiny", ready to answer.

    `settings` are fields of `Settings`; one that is None counts as not given.

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


def uses(spec: str, setting: str) -> bool:
    """Whether a model's backend has a use for a setting."""
    return setting in _find(spec, {}).module.SETTINGS


def identity(spec: str, settings: Mapping[str, Any]) -> dict[str, Json]:
    """What makes the model of a run the same model, without loading it.

    Raises: VlmbenchError as `check` does, and for a checkpoint or file that is not there.
    """
    found = _find(spec, settings)
    if not hasattr(found.module, "identity"):
        return {"spec": spec, **_used(found, "dtype", "split_images")}
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
    return {name: getattr(found.settings, name) for name in names if name in found.module.SETTINGS}


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
    known = [field.name for field in fields(Settings)]
    for setting in named:
        if setting not in known:
            raise no_such("setting", setting, known)
        if setting not in module.SETTINGS:
            uses = f"it uses: {', '.join(module.SETTINGS)}" if module.SETTINGS else "it uses none"
            raise VlmbenchError(
                f"the backend {name!r} has no use for the setting {setting}; {uses}"
            )
    settings = Settings(**named)
    if hasattr(module, "check"):
        with _naming_what_is_missing(name):
            module.check(argument)
    return _Found(name, module, argument, settings)


def _module(name: str) -> BackendModule:
    if name in BUILT_IN:
        with _naming_what_is_missing(name):
            return cast(BackendModule, importlib.import_module(f"vlmbench.backends.{name}"))
    installed = importlib.metadata.entry_points(group=ENTRY_POINTS)
    for point in installed.select(name=name):
        try:
            module = point.load()
        except (ImportError, AttributeError) as error:
            where = f"the backend {name!r} (entry point {point.value})"
            raise VlmbenchError(f"{where} does not load: {error}") from error
        if not (hasattr(module, "SETTINGS") and hasattr(module, "open")):
            raise VlmbenchError(f"entry point {point.value}: no SETTINGS and open() in it")
        return cast(BackendModule, module)
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

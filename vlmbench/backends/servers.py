"""Finding a server of the chat-completions API: its URL, its kind, its models, its key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx2

from vlmbench.backends.chat_completions import DIALECTS, OPENAI, Dialect, message_of
from vlmbench.backends.settings import ServerSettings as Settings
from vlmbench.errors import VlmbenchError, no_such

LISTING_TIMEOUT_S = 30.0
MAX_MESSAGE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answered, and the model to ask it for."""

    url: str
    """What "/chat/completions" is added to."""

    model: str
    dialect: Dialect
    root: str = ""
    """What the server says the model's name stands for: a path or a hub id; empty: nothing."""


class Address(NamedTuple):
    """Where a model is served, and its name there."""

    url: str
    model: str


def parse(argument: str) -> Address:
    """URL#MODEL to its two halves.

    Raises: VlmbenchError if one is missing, or the URL holds what may not be logged.
    """
    url, _, model = argument.partition("#")
    example = "write openai:http://localhost:8000#MODEL"
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise VlmbenchError(f"the server's URL is wrong: {error}; {example}") from None
    if parsed.userinfo or parsed.query:
        raise VlmbenchError(
            "the server's URL may hold no user, password or query, as it is logged; "
            "a key is read from an environment variable"
        )
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise VlmbenchError(f"{url!r} is no http:// or https:// URL; {example}")
    if not model:
        raise VlmbenchError(f"no model is named for {url}; {example}")
    return Address(url.rstrip("/"), model)


def key(variable: str) -> str:
    """The key in an environment variable; empty where the default one is not set.

    Raises: VlmbenchError if another variable is not set, or the key cannot be sent.
    """
    value = os.environ.get(variable, "").strip()
    if not value and variable != Settings().api_key_env:
        raise VlmbenchError(f"the environment variable {variable} holds no key")
    if not (value.isascii() and value.isprintable()):
        raise VlmbenchError(f"the key in {variable} has characters that no HTTP header can hold")
    return value


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def refused(url: str, key: str, variable: str) -> VlmbenchError:
    """The error for a server that answers 401."""
    if key:
        return VlmbenchError(f"the server at {url} refuses the key in {variable}")
    return VlmbenchError(f"the server at {url} wants a key: put it in {variable}")


def find(url: str, model: str, key: str, settings: Settings) -> Server:
    """The server at the URL, which may come with or without its "/v1".

    A server that lists no models is taken as it is.

    Raises: VlmbenchError if nothing answers, it is not ready, it refuses the key, or a server of a
    kind that takes any name lists no such model.
    """
    has_path = httpx2.URL(url).path.strip("/")
    urls = [url, f"{url}/v1"] if has_path else [f"{url}/v1"]
    if url.endswith("/v1"):
        urls = [url]
    timeout_s = min(settings.timeout_s, LISTING_TIMEOUT_S)
    with httpx2.Client(headers=headers(key), timeout=timeout_s) as client:
        for candidate in urls:
            models = _models(client, candidate, key, settings.api_key_env)
            if models:
                return _server(candidate, model, models)
    return _server(urls[0], model, {})


def _models(
    client: httpx2.Client, url: str, key: str, variable: str
) -> Mapping[str, Mapping[str, Any]]:
    """Names of the models that the server lists, with what it says of each."""
    try:
        reply = client.get(f"{url}/models")
    except httpx2.RequestError as error:
        reason = brief(f"{type(error).__name__}: {error}", key)
        raise VlmbenchError(f"no server answers at {url} ({reason})") from None
    if reply.status_code == 401:
        raise refused(url, key, variable)
    if reply.is_redirect:
        location = brief(reply.headers["location"], key)
        raise VlmbenchError(f"the server at {url} has moved to {location}; name that URL")
    if reply.status_code == 429 or reply.is_server_error:
        reason = brief(refusal(reply), key)
        raise VlmbenchError(f"the server at {url} is not ready ({reason})")
    try:
        listed = reply.json()["data"]
        named = {name: m for m in listed for name in (m["id"], *(m.get("aliases") or ()))}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return named


def _server(url: str, model: str, models: Mapping[str, Mapping[str, Any]]) -> Server:
    entry = models.get(model) or next(iter(models.values()), {})
    dialect = DIALECTS.get(str(entry.get("owned_by")), Dialect())
    if httpx2.URL(url).host == "api.openai.com":
        dialect = OPENAI
    if dialect.knows_its_models and model not in models:
        raise no_such("model", model, models, f"at {url}")
    return Server(url=url, model=model, dialect=dialect, root=str(entry.get("root") or ""))


def refusal(reply: httpx2.Response) -> str:
    """The status of a reply that is an error, and what it says."""
    try:
        said = message_of(reply.json())
    except ValueError:
        said = reply.text
    return f"HTTP {reply.status_code}: {said or reply.reason_phrase}"


def brief(message: str, key: str) -> str:
    """A line that may be logged: a server may repeat the key that it was sent."""
    line = " ".join((message.replace(key, "***") if key else message).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 3] + "..."

"""Finding a server of the chat-completions API: its URL, its kind, its models, its key."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2

from vlmbench.backends import connections
from vlmbench.backends.chat_completions import DIALECTS, OPENAI, Dialect
from vlmbench.backends.notices import Notices
from vlmbench.backends.reading import Received, received
from vlmbench.backends.replies import ReplyError, message_of
from vlmbench.backends.settings import ServerSettings as Settings
from vlmbench.errors import VlmbenchError, no_such

LISTING_TIMEOUT_S = 30.0
MAX_MESSAGE = 300
MAX_PAGE = 10_000
"""Characters of an error's page that are read."""

MAX_MODELS = 10_000
"""Models of a server's list that are looked at."""


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
    """URLs that serve a model, and its name there."""

    urls: tuple[str, ...]
    """URLs of servers of the same model, each once."""

    model: str


class NotReadyError(VlmbenchError):
    """A server that does not answer, or not yet."""


EXAMPLE = "write openai:http://localhost:8000#MODEL"

ENDPOINT = "/chat/completions"

_KEY_IN_PATH = re.compile(
    r"(?:^|[/;,&])(?:(?:api[-_]?)?(?:key|token|secret)=|(?:sk|pk|rk|hf|gsk|xai|ghp|nvapi)[-_]"
    r"[A-Za-z0-9_-]{8,}(?:/|$)|AIza[\w-]{20,}|"
    r"(?=[^/]*[a-z])(?=[^/]*[A-Z])(?=[^/]*\d)[A-Za-z0-9]{24,}(?:/|$))"
)
"""Keys as providers make them: by prefix, or long and of capitals, small letters and digits."""


def parse(argument: str) -> Address:
    """URL#MODEL, or URL,URL,...#MODEL for replicas, to its parts.

    Raises: VlmbenchError if one is missing, or a URL holds what may not be logged.
    """
    listed, _, model = argument.partition("#")
    urls = tuple(dict.fromkeys(_url(url.strip()) for url in listed.split(",")))
    if not model:
        raise VlmbenchError(f"no model is named for {listed}; {EXAMPLE}")
    return Address(urls, model)


def _url(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise VlmbenchError(f"the server's URL is wrong: {error}; {EXAMPLE}") from None
    if parsed.userinfo or parsed.query:
        raise VlmbenchError(
            "the server's URL may hold no user, password or query, as it is logged; "
            "a key is read from an environment variable"
        )
    if _KEY_IN_PATH.search(parsed.path):
        raise VlmbenchError(
            "the server's URL seems to hold a key in its path, and it is logged; a key is read "
            "from an environment variable"
        )
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise VlmbenchError(f"{url!r} is no http:// or https:// URL; {EXAMPLE}")
    return url.rstrip("/").removesuffix(ENDPOINT).rstrip("/")


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


def refused(url: str, key: str, variable: str) -> VlmbenchError:
    """The error for a server that answers 401."""
    if key:
        return VlmbenchError(f"the server at {url} refuses the key in {variable}")
    return VlmbenchError(f"the server at {url} wants a key: put it in {variable}")


def refuses_key(reply: Received) -> bool:
    """True if an error is about the key: some proxies answer 400, 403 or 500 for it."""
    if reply.status_code not in (400, 403, 500):
        return reply.status_code == 401
    return bool(_ABOUT_KEY.search(refusal(reply)))


_ABOUT_KEY = re.compile(
    r"authentication[ _]error|(?:invalid|incorrect|no|missing) (?:\w+ )?api[ _-]?key|"
    r"invalid (?:proxy server|access|bearer) token|api[ _-]?key (?:is )?(?:invalid|missing)",
    re.I,
)


def find(address: Address, key: str, settings: Settings, notices: Notices) -> list[Server]:
    """The servers at the URLs, which may come with or without their "/v1".

    A server that lists no models is taken as it is; so is one of several that does not answer, as
    long as another does: it may come.

    Raises: VlmbenchError if nothing answers, it is not ready, it refuses the key, or a server of a
    kind that takes any name lists no such model.
    """
    found: dict[str, Server | NotReadyError] = {}
    for url in address.urls:
        try:
            found[url] = _find(url, address.model, key, settings)
        except NotReadyError as error:
            found[url] = error
    ready = [server for server in found.values() if isinstance(server, Server)]
    servers = []
    for url, server in found.items():
        if isinstance(server, NotReadyError):
            if not ready:
                raise server
            notices.tell(f"{server}; its requests go to the others")
            server = replace(ready[0], url=_candidates(url)[0])
        servers.append(server)
    return servers


def _find(url: str, model: str, key: str, settings: Settings) -> Server:
    timeout_s = min(settings.timeout_s, LISTING_TIMEOUT_S)
    candidates = _candidates(url)
    with connections.client(url, key, timeout_s) as client:
        for candidate in candidates:
            models = _models(client, candidate, key, settings.api_key_env)
            if models:
                return _server(candidate, model, models)
    return _server(candidates[0], model, {})


def _candidates(url: str) -> list[str]:
    if url.endswith("/v1"):
        return [url]
    return [url, f"{url}/v1"] if httpx2.URL(url).path.strip("/") else [f"{url}/v1"]


def _models(
    client: httpx2.Client, url: str, key: str, variable: str
) -> Mapping[str, Mapping[str, Any]]:
    """Names of the models that the server lists, with what it says of each."""
    try:
        with client.stream("GET", f"{url}/models") as stream:
            reply = received(stream, LISTING_TIMEOUT_S)
    except (httpx2.RequestError, ReplyError) as error:
        reason = brief(f"{type(error).__name__}: {error}", key)
        proxy = connections.proxy_of(url)
        raise NotReadyError(f"no server answers at {url}{proxy} ({reason})") from None
    if refuses_key(reply):
        raise refused(url, key, variable)
    if 300 <= reply.status_code < 400:
        location = brief(reply.headers.get("location", "a place that it does not name"), key)
        raise VlmbenchError(f"the server at {url} has moved to {location}; name that URL")
    if reply.status_code == 429 or reply.status_code >= 500:
        reason = brief(refusal(reply), key)
        raise NotReadyError(f"the server at {url} is not ready ({reason})")
    try:
        document: Any = reply.json()
        named = {
            name: m
            for m in document["data"][:MAX_MODELS]
            for name in (m["id"], *(m.get("aliases") or ()))
            if isinstance(name, str)
        }
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
    root = str(entry.get("root") or "")[:MAX_MESSAGE]
    return Server(url=url, model=model, dialect=dialect, root=root)


def refusal(reply: Received) -> str:
    """The status of a reply that is an error, and what it says."""
    return f"HTTP {reply.status_code}: {message_of(said(reply)) or reply.reason_phrase}"


def said(reply: Received) -> object:
    """The document of a reply that is an error, or its text."""
    try:
        document: object = reply.json()
    except ValueError:
        return _without_tags(reply.text[:MAX_PAGE])
    return document


def _without_tags(text: str) -> str:
    """What a page of HTML says, each line once; any other text as it is."""
    if not re.search(r"<(?:html|!doctype)", text, re.I):
        return text
    text = re.sub(r"<(head|style|script)\b.*?</\1>", " ", text, flags=re.I | re.S)
    lines = (line.strip() for line in re.sub(r"<[^>]*>", "\n", text).splitlines())
    return "; ".join(dict.fromkeys(line for line in lines if line))


def brief(message: str, key: str) -> str:
    """A line that may be logged: a server may repeat the key that it was sent."""
    encoded = base64.b64encode(key.encode()).decode()
    for form in (key, quote(key, safe=""), encoded) if key else ():
        message = message.replace(form, "***")
    line = " ".join(message.split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 3] + "..."

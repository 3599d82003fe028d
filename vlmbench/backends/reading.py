"""What a server sends, read up to a limit: a reply is a stranger's, and may have no end."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx2

from vlmbench.backends.replies import ReplyError

MAX_BYTES = 32 * 2**20
"""Of one reply, decompressed. A long answer with the log-probabilities of its tokens has 12 MB."""

NO_COMPRESSION = {"Accept-Encoding": "identity"}
"""Header of every request: a compressed reply may be a thousand times larger than it seems."""

ENCODINGS = ("", "identity", "gzip", "deflate")
"""What is decompressed where a server compresses all the same; others expand without bounds."""


@dataclass(frozen=True, slots=True)
class Received:
    """A reply that was read whole."""

    status_code: int
    reason_phrase: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The content as UTF-8, whatever the server calls it."""
        return self.content.decode(errors="replace")

    def json(self) -> object:
        """Raises: ValueError where it is no JSON."""
        return document(self.content)


def received(reply: httpx2.Response, within_s: float) -> Received:
    """Raises: ReplyError for more than MAX_BYTES, or for a reply that has not ended in time."""
    deadline = time.monotonic() + within_s
    content = bytearray()
    _check_encoding(reply)
    for part in reply.iter_bytes():
        content += _within(content, part)
        if time.monotonic() > deadline:
            raise ReplyError(f"the reply had not ended after {within_s:g} s")
    return Received(reply.status_code, reply.reason_phrase, reply.headers, bytes(content))


async def areceived(reply: httpx2.Response) -> Received:
    """Raises: ReplyError for more than MAX_BYTES. The caller limits the time."""
    content = bytearray()
    async for part in _parts(reply):
        content += part
    return Received(reply.status_code, reply.reason_phrase, reply.headers, bytes(content))


async def events(reply: httpx2.Response) -> AsyncIterator[str]:
    """The data of server-sent events. Raises: ReplyError for more than MAX_BYTES in all.

    Reference: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
    """
    data: list[str] = []
    async for line in _lines(reply):
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:  # servers leave the last empty line out
        yield "\n".join(data)


async def _lines(reply: httpx2.Response) -> AsyncIterator[str]:
    unread = b""
    pieces: list[bytes] = []
    async for part in _parts(reply):
        if b"\n" not in part and b"\r" not in part:
            pieces.append(part)  # a line of many parts is joined once
            continue
        whole = b"".join((unread, *pieces, part)).replace(b"\r\n", b"\n")
        pieces = []
        is_half = whole.endswith(b"\r")  # of "\r\n", perhaps
        *lines, unread = whole[: len(whole) - is_half].replace(b"\r", b"\n").split(b"\n")
        unread += b"\r" * is_half
        for line in lines:
            yield line.decode(errors="replace")
    last = b"".join((unread, *pieces)).rstrip(b"\r")
    if last:
        yield last.decode(errors="replace")


async def _parts(reply: httpx2.Response) -> AsyncIterator[bytes]:
    _check_encoding(reply)
    size = 0
    async for part in reply.aiter_bytes():
        size += len(part)
        if size > MAX_BYTES:
            raise _too_large()
        yield part


def _within(content: bytearray, part: bytes) -> bytes:
    if len(content) + len(part) > MAX_BYTES:
        raise _too_large()
    return part


def _too_large() -> ReplyError:
    return ReplyError(f"the reply has more than {MAX_BYTES >> 20} MiB")


def _check_encoding(reply: httpx2.Response) -> None:
    encoding = reply.headers.get("content-encoding", "").strip().lower()
    if encoding not in ENCODINGS:
        raise ReplyError(f"the reply is compressed by {encoding[:40]!r}, which was not asked for")


def document(text: str | bytes) -> object:
    """The JSON value. Raises: ValueError where it is none, or is nested too deeply."""
    try:
        found: object = json.loads(text)
    except RecursionError:
        raise ValueError("lists or objects nested too deeply") from None
    return found

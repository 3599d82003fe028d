"""Requests on their way to a worker that has no data: packed with their pictures, and unpacked."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from vlmbench.runs.plan import Item
from vlmbench.runs.runner import Asked
from vlmbench.schema import Message, Picture, Request

if TYPE_CHECKING:
    from PIL.Image import Image

PARCEL_BYTES = 8 << 20
"""Pictures of a parcel, about: enough to keep a worker busy while the next one comes."""

PARCEL_SAMPLES = 512


@dataclass(frozen=True)
class SentPicture(Picture):
    """A picture that came in a parcel."""

    content: bytes

    def encoded(self) -> bytes:
        return self.content

    def decode(self) -> Image:
        """Raises: ValueError for a broken or far too large picture."""
        from PIL import Image

        try:
            image = Image.open(io.BytesIO(self.content))
            image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"the picture cannot be decoded: {error}") from error
        return image


class _Turn(msgspec.Struct, array_like=True):
    role: Literal["system", "user", "assistant"]
    content: list[str | int]
    """A number is a picture's place in the parcel."""


class _Asked(msgspec.Struct, array_like=True):
    task: str
    index: int
    id: str
    error: str
    prompt: str
    images: tuple[str, ...]
    is_asked: bool
    """False: the sample cannot be asked, and what follows is empty."""

    request_id: str = ""
    image_group: str = ""
    turns: tuple[_Turn, ...] = ()
    answer_prefix: str = ""
    max_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    bad_words: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()


class _Parcel(msgspec.Struct, array_like=True):
    asked: list[_Asked]
    pictures: list[bytes]


def packed(asked: Iterable[Asked]) -> Iterator[bytes]:
    """Parcels of samples in their order; a picture is in a parcel once, whoever shows it."""
    parcel, places, size = _Parcel([], []), dict[str, int](), 0
    for one in asked:
        num_before = len(parcel.pictures)
        parcel.asked.append(_packed(one, parcel, places))
        size += sum(map(len, parcel.pictures[num_before:]))
        if size >= PARCEL_BYTES or len(parcel.asked) >= PARCEL_SAMPLES:
            yield msgspec.msgpack.encode(parcel)
            parcel, places, size = _Parcel([], []), {}, 0
    if parcel.asked:
        yield msgspec.msgpack.encode(parcel)


def unpacked(content: bytes) -> Iterator[Asked]:
    """The samples of a parcel."""
    parcel = msgspec.msgpack.decode(content, type=_Parcel)
    pictures = [SentPicture(picture) for picture in parcel.pictures]
    for one in parcel.asked:
        request = _request(one, pictures) if one.is_asked else None
        item = Item(task=one.task, index=one.index, id=one.id, image_group="", cost=0.0)
        yield Asked(
            item=item, request=request, error=one.error, prompt=one.prompt, images=one.images
        )


def _packed(one: Asked, parcel: _Parcel, places: dict[str, int]) -> _Asked:
    item, request = one.item, one.request
    common = (item.task, item.index, item.id, one.error, one.prompt, one.images)
    if request is None:
        return _Asked(*common, is_asked=False)

    def place(piece: str | Picture) -> str | int:
        if isinstance(piece, str):
            return piece
        if piece.digest not in places:
            places[piece.digest] = len(parcel.pictures)
            parcel.pictures.append(piece.encoded())
        return places[piece.digest]

    return _Asked(
        *common,
        is_asked=True,
        request_id=request.id,
        image_group=request.image_group,
        turns=tuple(_Turn(turn.role, [*map(place, turn.content)]) for turn in request.messages),
        answer_prefix=request.answer_prefix,
        max_new_tokens=request.max_new_tokens,
        stop=request.stop,
        bad_words=request.bad_words,
        candidates=request.candidates,
    )


def _request(one: _Asked, pictures: list[SentPicture]) -> Request:
    def piece(given: str | int) -> str | Picture:
        return pictures[given] if isinstance(given, int) else given

    return Request(
        id=one.request_id,
        image_group=one.image_group,
        messages=tuple(
            Message(role=t.role, content=tuple(map(piece, t.content))) for t in one.turns
        ),
        answer_prefix=one.answer_prefix,
        max_new_tokens=one.max_new_tokens,
        stop=one.stop,
        bad_words=one.bad_words,
        candidates=one.candidates,
    )

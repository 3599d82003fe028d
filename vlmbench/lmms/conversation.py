"""lmms-eval's documents, messages and generation settings in our terms."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

from vlmbench import image_files
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Picture

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_NEW_TOKENS = 1024
"""Default for tasks that set none: that of lmms-eval's own Idefics2, and of most of its models."""

PLACEHOLDER = "<image>"
KEPT = 16
"""Number of documents whose pictures stay decoded: a request's are digested, then soon used."""

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """The decoding settings of one request."""

    max_new_tokens: int
    stop: tuple[str, ...]
    temperature: float
    """0: greedy."""

    top_p: float

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Decoding:
        """Settings from a task's `generation_kwargs`; one that changes no answer here is ignored.

        `do_sample: false` is greedy whatever the temperature; `do_sample: true` alone means 1.

        Raises: VlmbenchError for beam search, which would give other answers.
        """
        if (given.get("num_beams") or 1) > 1:
            raise VlmbenchError(
                f"the task asks for beam search ({given['num_beams']} beams), which vlmbench does "
                "not have: set its num_beams to 1 for greedy decoding"
            )
        until = given.get("until") or ()
        temperature = given.get("temperature")
        if temperature is None:
            temperature = 1.0 if given.get("do_sample") else 0.0
        if given.get("do_sample") is False:
            temperature = 0.0
        top_p = given.get("top_p")
        if top_p == 0:  # no more than the likeliest token
            temperature = 0.0
        limits = (given.get(name) for name in ("max_new_tokens", "max_gen_toks", "max_tokens"))
        return cls(
            max_new_tokens=int(next((limit for limit in limits if limit), MAX_NEW_TOKENS)),
            stop=tuple(filter(None, [until] if isinstance(until, str) else until)),
            temperature=float(temperature),
            top_p=1.0 if temperature == 0 or top_p is None else float(top_p),
        )


class Pictures:
    """The pictures of documents, made again when needed: thousands of requests may wait."""

    def __init__(self, read: Callable[[Any], Sequence[Any]]) -> None:
        """`read`: a document's key -> what lmms-eval shows of it: pictures, or paths of files."""
        self._recent = lru_cache(KEPT)(lambda key: [_Shown(visual) for visual in read(key)])

    def of(self, key: Any) -> list[DocumentPicture]:
        return [DocumentPicture(self, key, index) for index in range(len(self._recent(key)))]

    def shown(self, key: Any, index: int) -> _Shown:
        return self._recent(key)[index]


@dataclass(frozen=True)
class DocumentPicture(Picture):
    """A picture of a document."""

    pictures: Pictures
    key: Any
    index: int

    def encoded(self) -> bytes:
        return self.pictures.shown(self.key, self.index).encoded

    def decode(self) -> Image:
        return self.pictures.shown(self.key, self.index).image()


class _Shown:
    def __init__(self, visual: Any) -> None:
        self._visual = visual

    def image(self) -> Image:
        """The decoded picture.

        Raises: ValueError for a video, a sound or a broken file.
        """
        import PIL.Image

        if isinstance(self._visual, PIL.Image.Image):
            return self._visual
        try:
            image = PIL.Image.open(self._visual, formats=image_files.FORMATS)
            image.load()
        except Exception as error:  # whatever a decoder raises
            kind = type(self._visual).__name__
            raise ValueError(f"lmms-eval shows no picture here but a {kind}: {error}") from None
        return image

    @cached_property
    def encoded(self) -> bytes:
        image, file = self.image(), io.BytesIO()
        image = image if image.mode in PNG_MODES else image.convert("RGB")
        image.save(file, "PNG", compress_level=1)
        return file.getvalue()


def visuals_of(chat: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The pictures of a chat, in its order.

    Raises: ValueError for a video or a sound.
    """
    return [piece["url"] for _, pieces in _turns(chat) for piece in pieces if _is_image(piece)]


def messages_of(
    chat: Sequence[Mapping[str, Any]], pictures: Sequence[Picture]
) -> tuple[Message, ...]:
    """Chat messages with `pictures` where `visuals_of` found them."""
    rest = iter(pictures)
    return tuple(
        Message(
            role=role,
            content=tuple(next(rest) if _is_image(piece) else piece["text"] for piece in pieces),
        )
        for role, pieces in _turns(chat)
    )


def user_turn(text: str, pictures: Sequence[Picture]) -> Message:
    """A user message; its pictures stand at the `<image>`s, if the counts agree, else first."""
    if not pictures or text.count(PLACEHOLDER) != len(pictures):
        return Message(role="user", content=(*pictures, text))
    content: list[str | Picture] = []
    for piece, picture in zip(text.split(PLACEHOLDER), (*pictures, None), strict=True):
        content += [piece] if piece else []
        content += [picture] if picture is not None else []
    return Message(role="user", content=tuple(content))


Role = Literal["system", "user", "assistant"]


def _turns(
    chat: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Role, Sequence[Mapping[str, Any]]]]:
    for message in chat:
        content = message["content"]
        pieces = [{"type": "text", "text": content}] if isinstance(content, str) else content
        yield cast(Role, message["role"]), pieces


def _is_image(piece: Mapping[str, Any]) -> bool:
    if piece["type"] not in ("image", "text"):
        raise ValueError(f"this model sees pictures and text, no {piece['type']}")
    return bool(piece["type"] == "image")

"""Places pictures in a prompt's text, which may name them: `<image 1>`, `<image 2>`, ..."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from vlmbench.errors import VlmbenchError
from vlmbench.schema import Picture, Sample

Piece: TypeAlias = "str | Picture"

_NAMED = re.compile(r"<image ([0-9]+)>")


def pictures_of(sample: Sample) -> list[Picture]:
    """All pictures of a sample in the order of their numbers."""
    return [sample.images[number] for number in sorted(sample.images)]


def labelled(pictures: Iterable[tuple[int, Picture]]) -> list[Piece]:
    """A line for each numbered picture: "<image 1>:" and the picture."""
    return [
        piece for number, picture in pictures for piece in (f"<image {number}>:", picture, "\n")
    ]


def in_place(sample: Sample, text: str) -> list[Piece]:
    """`text` with each `<image N>` replaced by picture N; pictures it does not name come first."""
    if not sample.interleaved:
        return [*pictures_of(sample), text]
    parts = _NAMED.split(text)
    pieces: list[Piece] = [
        sample.images[int(part)] if index % 2 else part for index, part in enumerate(parts)
    ]
    named = set(parts[1::2])
    return [sample.images[n] for n in sorted(sample.images) if str(n) not in named] + pieces


def content_of(*pieces: Piece) -> tuple[Piece, ...]:
    """The pieces with neighbouring texts joined and empty ones left out."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, str) and isinstance(last, str):
            joined[-1] = last + piece
        elif piece != "":
            joined.append(piece)
    return tuple(joined) or ("",)


def check_named_images(sample: Sample) -> None:
    """Raises: VlmbenchError if an interleaved sample names an image that it does not have."""
    if not sample.interleaved:
        return
    texts = (sample.question, sample.hint, *sample.options.values(), *sample.ocr_tokens)
    known = [str(number) for number in sorted(sample.images)]
    for named in _NAMED.findall("\n".join(texts)):
        if named not in known:
            raise VlmbenchError(
                f"sample {sample.id}: the text names <image {named}>, "
                f"but the sample's images are: {', '.join(known) or 'none'}"
            )


def without_pictures(sample: Sample) -> Sample:
    """The sample without its pictures; each `<image N>` goes with the space before it."""

    def unnamed(text: str) -> str:
        if not (sample.interleaved and _NAMED.search(text)):
            return text
        return re.sub(f" ?{_NAMED.pattern}", "", text).strip()

    return replace(
        sample,
        images={},
        interleaved=False,
        question=unnamed(sample.question),
        hint=unnamed(sample.hint),
        options={letter: unnamed(text) for letter, text in sample.options.items()},
    )

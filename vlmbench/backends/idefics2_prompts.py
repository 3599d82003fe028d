"""Requests as the Idefics2 engine takes them: token ids, and pictures that are decoded later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import idefics2
from idefics2 import engine, flops
from idefics2.generate import Sampling
from idefics2.prompt import Slots
from idefics2.thinning import Thinning
from vlmbench.backends import pictures
from vlmbench.backends.batching import seed_of
from vlmbench.backends.rendering import NO_TEMPLATE
from vlmbench.backends.settings import Idefics2Settings
from vlmbench.backends.spelling import continuation, joined, spellings
from vlmbench.schema import Picture, Request

DIGEST_BYTES = 16

Piece: TypeAlias = str | Slots
Continuations: TypeAlias = tuple[tuple[int, ...], ...]
"""The ids of each candidate, behind those of the prompt."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request on its way into the engine."""

    request: engine.Request
    grid: tuple[tuple[int, int], ...] | None
    """Rows and columns of patches of each crop; None where a picture's header cannot be read."""


class Prompts:
    """A processor's prompts for the harness's requests."""

    def __init__(self, processor: idefics2.Processor, settings: Idefics2Settings) -> None:
        self._processor, self._settings = processor, settings
        self._thinning = thinning_of(settings)

    def prepare(self, request: Request) -> Prepared:
        """The request with its pictures still encoded.

        Raises: ValueError for a picture that cannot be used, or a prompt beyond the context.
        """
        shown: list[engine.LazyImage] = []
        grid: list[tuple[int, int]] | None = []
        messages = []
        for message in request.messages:
            pieces: list[Piece] = []
            for piece in message.content:
                if isinstance(piece, str):
                    pieces.append(piece)
                    continue
                image = self._image(piece)
                shown.append(image)
                pieces.append(image.slots)
                if grid is not None:
                    crops = self._crop_grid(piece)
                    grid = None if crops is None else grid + crops
            messages.append(idefics2.Message(message.role, tuple(pieces)))
        if self._processor.chat_template is None:
            ids, continuations = self._completion(request, messages)
        else:
            ids, continuations = self._chat(request, messages)
        limit = self._limit(request, len(ids), max(map(len, continuations), default=1))
        return Prepared(
            engine.Request(
                id=request.id,
                ids=ids,
                images=tuple(shown),
                sampling=None if continuations else self._sampling(request, limit),
                continuations=continuations,
            ),
            None if grid is None else tuple(grid),
        )

    def _image(self, picture: Picture) -> engine.LazyImage:
        decode, max_side = picture.decode, self._settings.max_side
        if max_side is not None:
            decode = partial(pictures.shown, picture, on_white=True, max_side=max_side)
        return engine.lazy_image(self._processor, picture.digest, decode, self._thinning)

    def _crop_grid(self, picture: Picture) -> list[tuple[int, int]] | None:
        """None where the picture's size is not known."""
        if not any(picture.size):
            return None
        size = pictures.smaller_size(picture.size, self._settings.max_side)
        return flops.crop_grid(*size, self._processor.images)

    def _limit(self, request: Request, num_prompt: int, num_needed: int) -> int:
        """New tokens, at most: what the request allows and the context has room for."""
        context = self._processor.config.text.max_positions
        if num_prompt + num_needed > context:
            raise ValueError(
                f"the prompt has {num_prompt} tokens, which leaves no room in the context of "
                f"{context}"
            )
        return min(request.max_new_tokens, context - num_prompt)

    def _sampling(self, request: Request, limit: int) -> Sampling:
        return Sampling(
            max_new_tokens=limit,
            temperature=self._settings.temperature,
            top_p=self._settings.top_p,
            stop_ids=self._processor.stop_ids,
            stop_strings=request.stop,
            bad_ids=self._barred(request.bad_words),
            seed=seed_of(self._settings.seed, request.id),
        )

    def _chat(
        self, request: Request, messages: Sequence[idefics2.Message]
    ) -> tuple[tuple[int, ...], Continuations]:
        """A candidate is read up to <end_of_utterance>, as in the authors' evaluation code."""
        ids = self._processor.chat(messages).ids
        start = self._last_turn(ids)
        turn = ids[start:]
        if request.answer_prefix:
            turn = self._assistant_turn(request.answer_prefix)[:-1]
            ids = ids[:start] + turn
        answers = (joined(request.answer_prefix, text) for text in request.candidates)
        return ids, tuple(continuation(turn, self._assistant_turn(text)) for text in answers)

    def _assistant_turn(self, answer: str) -> tuple[int, ...]:
        """The ids of an answer in the chat, from the line break before "Assistant:" to its end."""
        messages = [idefics2.Message("user", ("",)), idefics2.Message("assistant", (answer,))]
        ids = self._processor.chat(messages, add_generation_prompt=False).ids
        end = self._last_turn(ids)
        return ids[self._last_turn(ids[: end - 1]) : end]

    def _last_turn(self, ids: tuple[int, ...]) -> int:
        """Index just after the last <end_of_utterance>."""
        return len(ids) - ids[::-1].index(self._processor.tokens.special["<end_of_utterance>"])

    def _completion(
        self, request: Request, messages: Sequence[idefics2.Message]
    ) -> tuple[tuple[int, ...], Continuations]:
        if len(messages) > 1:
            raise ValueError(NO_TEMPLATE)
        *pieces, text = messages[0].content
        if not isinstance(text, str):
            pieces, text = [*pieces, text], ""
        if request.answer_prefix:
            text = joined(text, request.answer_prefix)
        before = self._processor.prompt([text]).ids
        wholes = (self._processor.prompt([joined(text, c)]).ids for c in request.candidates)
        ids = self._processor.prompt([*pieces, text]).ids
        return ids, tuple(continuation(before, whole) for whole in wholes)

    def _barred(self, words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """The checkpoint's own words not to say, and these."""
        special = self._processor.tokens.special
        named = {(special[word],) for word in words if word in special}
        others = (spellings(word, self._encode) for word in words if word not in special)
        return (*self._processor.bad_ids, *sorted(named.union(*others)))

    def _encode(self, text: str) -> tuple[int, ...]:
        tokens = self._processor.tokens
        return tokens.encode([text])[len(tokens.bos_ids) :]


def thinning_of(settings: Idefics2Settings) -> Thinning | None:
    """Which visual tokens are kept; None: all of them."""
    share = settings.keep_visual_tokens
    return Thinning(share, settings.seed) if share < 1 else None

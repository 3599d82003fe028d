"""A task bound to its rows and to the way of asking: from a sample to a request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from vlmbench.data import splits
from vlmbench.data.pictures import PICTURES, Exchange, Pictures, blanked
from vlmbench.data.rows import Rows
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.schema import Message, Picture, Request, Sample
from vlmbench.task import prompts
from vlmbench.task.loading import parse_spec
from vlmbench.task.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How samples become requests: the same for every worker, and part of a run's identity."""

    style: str = "idefics2"
    shots: int = 0
    blind: bool = False
    pictures: Pictures = "own"
    """What the question shows; `shots` have their own in any case."""

    ocr: bool = False
    max_new_tokens: int | None = None
    """None: the task's, else the prompt style's."""

    seed: int = 0
    """Of the examples that `shots` draws."""

    def __post_init__(self) -> None:
        if self.pictures not in PICTURES:
            raise no_such("choice", self.pictures, PICTURES, "of pictures")
        if self.blind and self.pictures != "own":
            raise VlmbenchError(f"blind shows no pictures, so none can be {self.pictures!r}")


class Source(Protocol):
    """What a run asks: a task of ours, or another harness's in our terms."""

    name: str
    """`TASK@SPLIT`."""

    task: Task
    rows: Rows

    def request(self, sample: Sample) -> Request:
        """Raises: VlmbenchError or ValueError where the sample cannot be asked."""

    def figures(self, folder: Path) -> Mapping[str, float]:
        """What the harness that the task is from sums the scored samples up to, by metric.

        Empty for our own tasks. `folder` takes files that it may write.
        """


class TaskSource:
    """A task's rows on this machine, and its examples."""

    def __init__(
        self, spec: str, asking: Asking, *, data_dir: Path | None, tasks_dir: Path | None
    ) -> None:
        self.task, self.split, _ = parse_spec(spec, tasks_dir)
        self.name = f"{self.task.name}@{self.split.name}"
        prompts.checked(asking.style, self.task.form, ocr=asking.ocr)
        self.rows = splits.load(self.task.name, self.split, data_dir)
        self._asking = asking
        self._exchange: Exchange | None = None
        if asking.pictures == "other":
            self._exchange = Exchange(self.task.read(row) for row in self.rows)
        self._train: Rows | None = None
        if asking.shots:
            train = self.split.train or self.task.train
            if train is None:
                raise VlmbenchError(f"{self.name} has no training split to draw --shots from")
            self._train = splits.load(self.task.name, train, data_dir)
            prompts.draw_shots("", len(self._train), asking.shots, asking.seed)  # are there enough?

    def request(self, sample: Sample) -> Request:
        """Raises: VlmbenchError where the sample cannot be asked (a picture that is not there)."""
        asking = self._asking
        limit = asking.max_new_tokens or self.task.max_new_tokens
        asked = prompts.request(
            self._shown(sample),
            form=self.task.form,
            style=asking.style,
            max_new_tokens=limit,
            shots=self._shots(sample),
            blind=asking.blind,
            ocr=asking.ocr,
        )
        return replace(asked, id=f"{self.name}/{sample.id}")

    def figures(self, folder: Path) -> Mapping[str, float]:
        return {}

    def _shown(self, sample: Sample) -> Sample:
        """The sample, with other pictures where the run asks for them."""
        if self._exchange is not None:
            return self._exchange(sample)
        return blanked(sample) if self._asking.pictures == "blank" else sample

    def _shots(self, sample: Sample) -> list[Sample]:
        if self._train is None:
            return []
        num_shots, num_train = self._asking.shots, len(self._train)
        drawn = prompts.draw_shots(
            sample.id, num_train, min(num_shots + 1, num_train), self._asking.seed
        )
        shots = [self.task.read(row) for row in self._train.take(drawn)]
        # MMMU's dev split is both asked and drawn from: no question is its own example
        return [shot for shot in shots if shot.id != sample.id][:num_shots]


def pictures_of(request: Request) -> list[Picture]:
    """The pictures of a request in the order in which they are shown."""
    pieces = (piece for message in request.messages for piece in message.content)
    return [piece for piece in pieces if not isinstance(piece, str)]


def prompt_digest(request: Request, image_digests: Sequence[str]) -> str:
    """Equal for requests that ask the same of a model, pictures included."""
    images = iter(image_digests)
    asked: Mapping[str, object] = {
        "messages": [_as_text(message, images) for message in request.messages],
        "answer_prefix": request.answer_prefix,
        "max_new_tokens": request.max_new_tokens,
        "stop": request.stop,
        "bad_words": request.bad_words,
        "candidates": request.candidates,
    }
    return _digest(json.dumps(asked).encode())


def _as_text(message: Message, images: Iterator[str]) -> list[object]:
    pieces = [
        piece if isinstance(piece, str) else {"image": next(images)} for piece in message.content
    ]
    return [message.role, *pieces]


def _digest(content: bytes) -> str:
    """BLAKE2b of 128 bits: as collision-free as needed here, and twice as fast as SHA-256."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()

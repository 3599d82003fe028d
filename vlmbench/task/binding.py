"""A task with its rows and its prompt settings: what turns a sample into a request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from vlmbench.data import splits
from vlmbench.data.pictures import PICTURES, Exchange, Pictures, blanked
from vlmbench.data.policy import STRICT, Policy
from vlmbench.data.rows import Rows
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.schema import Message, Picture, Request, Sample
from vlmbench.task import prompts, styles
from vlmbench.task.loading import parse_spec
from vlmbench.task.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings:
    """How samples become requests: the same for every worker, and part of a run's identity."""

    style: str = "idefics2"
    """A name of `styles.STYLES`; an imported run has its harness's name."""

    style_version: int | None = None
    """Version of the style's wording, see `resolved`; None: not resolved, or another harness's."""

    shots: int = 0
    """Number of examples before the question."""

    blind: bool = False
    """True: no picture is shown, in the examples either."""

    pictures: Pictures = "own"
    """What the question shows; the examples have their own pictures in any case."""

    ocr: bool = False
    """True: the prompt holds the sample's OCR tokens."""

    max_new_tokens: int | None = None
    """Longest answer, in tokens; None: the task's limit, else the prompt style's."""

    seed: int = 0
    """Seed of the draw of examples."""

    def __post_init__(self) -> None:
        if self.pictures not in PICTURES:
            raise no_such("choice", self.pictures, PICTURES, "of pictures")
        if self.blind and self.pictures != "own":
            raise VlmbenchError(f"blind shows no pictures, so none can be {self.pictures!r}")

    @property
    def name(self) -> str:
        """What a report calls these settings: "lmms", "lmms+ocr", "idefics2 v2+8-shot"."""
        marks = {f"{self.shots}-shot": self.shots > 0, "blind": self.blind}
        marks |= {f"{self.pictures}-pictures": self.pictures != "own", "ocr": self.ocr}
        style = styles.versioned(self.style, self.style_version)
        return "+".join((style, *(mark for mark, is_set in marks.items() if is_set)))

    def resolved(self) -> PromptSettings:
        """These settings with the version that their style has here.

        Raises: VlmbenchError for an unknown style, or where another version is asked for.
        """
        version = styles.find(self.style).version
        if self.style_version not in (None, version):
            raise VlmbenchError(
                f"prompt style {self.style!r} has version {version} here, not {self.style_version}"
            )
        return replace(self, style_version=version)


class BoundTask(Protocol):
    """A task that a run asks, with its rows: one of ours, or another harness's in our terms."""

    name: str
    """`TASK@SPLIT`."""

    task: Task
    rows: Rows

    def request(self, sample: Sample) -> Request:
        """What the model is asked about a sample; the request's id is "NAME/SAMPLE'S ID".

        Raises: VlmbenchError or ValueError where the sample cannot be asked.
        """

    def figures(self, folder: Path) -> Mapping[str, float]:
        """Aggregate metrics of the scored samples by the task's own harness, unconverted.

        Empty for our own tasks. `folder` takes files that the harness may write.
        """


class OwnTask:
    """A task of ours bound to its rows on this machine and, with `shots`, to its training rows."""

    def __init__(
        self,
        spec: str,
        prompt: PromptSettings,
        *,
        data_dir: Path | None,
        tasks_dir: Path | None,
        policy: Policy = STRICT,
    ) -> None:
        """Raises: VlmbenchError for a task, style or split that is not there or does not fit."""
        self.task, self.split, _ = parse_spec(spec, tasks_dir)
        self.name = f"{self.task.name}@{self.split.name}"
        prompts.checked(prompt.style, self.task.form, ocr=prompt.ocr)
        self.rows = splits.load(self.task.name, self.split, data_dir, policy=policy)
        self._prompt = prompt
        self._exchange: Exchange | None = None
        if prompt.pictures == "other":
            self._exchange = Exchange(self.task.read(row) for row in self.rows)
        self._train: Rows | None = None
        if prompt.shots:
            train = self.split.train or self.task.train
            if train is None:
                raise VlmbenchError(f"{self.name} has no training split to draw --shots from")
            self._train = splits.load(self.task.name, train, data_dir, policy=policy)
            prompts.draw_shots("", len(self._train), prompt.shots, prompt.seed)  # are there enough?

    def request(self, sample: Sample) -> Request:
        """Raises: VlmbenchError where the sample cannot be asked (a picture that is not there)."""
        prompt = self._prompt
        limit = prompt.max_new_tokens or self.task.max_new_tokens
        asked = prompts.request(
            self._shown(sample),
            form=self.task.form,
            style=prompt.style,
            max_new_tokens=limit,
            shots=self._shots(sample),
            blind=prompt.blind,
            ocr=prompt.ocr,
        )
        return replace(asked, id=f"{self.name}/{sample.id}")

    def figures(self, folder: Path) -> Mapping[str, float]:
        return {}

    def _shown(self, sample: Sample) -> Sample:
        """The sample, with other pictures where the run asks for them."""
        if self._exchange is not None:
            return self._exchange(sample)
        return blanked(sample) if self._prompt.pictures == "blank" else sample

    def _shots(self, sample: Sample) -> list[Sample]:
        if self._train is None:
            return []
        num_shots, num_train = self._prompt.shots, len(self._train)
        drawn = prompts.draw_shots(
            sample.id, num_train, min(num_shots + 1, num_train), self._prompt.seed
        )
        shots = [self.task.read(row) for row in self._train.take(drawn)]
        # MMMU's dev split is both asked and drawn from: no question is its own example
        return [shot for shot in shots if shot.id != sample.id][:num_shots]


def pictures_of(request: Request) -> list[Picture]:
    """The pictures of a request in the order in which they are shown."""
    pieces = (piece for message in request.messages for piece in message.content)
    return [piece for piece in pieces if not isinstance(piece, str)]


def prompt_digest(request: Request, image_digests: Sequence[str]) -> str:
    """A digest that is equal for requests that ask the same of a model, pictures included.

    `image_digests`: one for each picture of the request, in the order in which they are shown.
    """
    images = iter(image_digests)
    asked: Mapping[str, object] = {
        "messages": [_as_text(message, images) for message in request.messages],
        "answer_prefix": request.answer_prefix,
        "max_new_tokens": request.max_new_tokens,
        "stop": request.stop,
        "bad_words": request.bad_words,
        "candidates": request.candidates,
    }
    return digest_of(json.dumps(asked).encode())


def _as_text(message: Message, images: Iterator[str]) -> list[object]:
    pieces = [
        piece if isinstance(piece, str) else {"image": next(images)} for piece in message.content
    ]
    return [message.role, *pieces]


def digest_of(content: bytes) -> str:
    """BLAKE2b of 128 bits: as collision-free as needed here, and twice as fast as SHA-256."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()

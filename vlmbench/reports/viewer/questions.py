"""A run's samples as the data set has them: questions, prompts, pictures, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import UNSET

from vlmbench.data.policy import STRICT, Policy
from vlmbench.data.rows import BLOCK
from vlmbench.errors import VlmbenchError
from vlmbench.reports.viewer.pictures import Pictures, Shown
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.responses import ResponseRecord
from vlmbench.schema import Json, Prediction, Profile, Request, Sample, Verdict
from vlmbench.task.binding import OwnTask, PromptSettings, pictures_of, prompt_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A sample as the data set has it and as the run prompted it; empty where unknown."""

    text: str = ""
    hint: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    gold: tuple[str, ...] = ()
    pictures: Sequence[Shown] = ()
    prompt: Mapping[str, Json] | None = None
    """The request; a number in its messages is the index of a picture in `pictures`."""

    is_as_asked: bool = True
    """False: the run's log has another prompt or picture than the data set at hand gives."""

    verdicts: Mapping[Profile, Verdict] = field(default_factory=dict)


class Questions:
    """The questions of a task of a run, in any order."""

    def __init__(
        self,
        run: FinishedRun,
        task: FinishedTask,
        pictures: Pictures,
        *,
        data_dir: Path | None,
        tasks_dir: Path | None,
        policy: Policy = STRICT,
    ) -> None:
        """Opens the task and its data.

        Raises: VlmbenchError with the way out, where the data or the task are missing.
        """
        self._is_imported = run.manifest.imported is not UNSET
        prompt = PromptSettings() if self._is_imported else run.manifest.prompt
        self._source = OwnTask(
            task.name, prompt, data_dir=data_dir, tasks_dir=tasks_dir, policy=policy
        )
        self._pictures = pictures
        self._rescores = self._source.task.version == task.version and bool(task.summaries)
        self._reading = task.reading
        read = self._source.task.read
        self._rows = {read(row).id: index for index, row in enumerate(self._source.rows)}

    def of(self, records: Sequence[ResponseRecord]) -> Iterator[Question]:
        """The question of each of the run's responses."""
        for start in range(0, len(records), BLOCK):
            block = records[start : start + BLOCK]
            known = [self._rows[r.id] for r in block if r.id in self._rows]
            rows = self._source.rows.take(known)
            for record in block:
                if record.id in self._rows:
                    yield self._question(self._source.task.read(next(rows)), record)
                else:
                    yield Question(is_as_asked=False)

    def _question(self, sample: Sample, record: ResponseRecord) -> Question:
        digests = record.images
        prompt = None
        try:
            request = self._source.request(sample)
        except (VlmbenchError, ValueError, OSError):  # it failed in the run, for the same reason
            pictures, is_as_asked = self._add(list(sample.images.values()), []), True
        else:
            shown = pictures_of(request)
            # without pictures in the prompt (--blind), those of the sample still tell what it is
            pictures = self._add(shown or list(sample.images.values()), digests)
            if not self._is_imported:  # another harness asked, and did not say how
                prompt = _as_json(request)
            is_as_asked = not record.prompt or (
                len(shown) == len(digests)
                and prompt_digest(request, digests) == record.prompt
                and all(p.digest == d for p, d in zip(pictures, digests, strict=bool(shown)))
            )
        return Question(
            text=sample.question,
            hint=sample.hint,
            options=sample.options,
            gold=sample.answers,
            pictures=pictures,
            prompt=prompt,
            is_as_asked=is_as_asked,
            verdicts=self._verdicts(sample, record),
        )

    def _add(self, pictures: Sequence[Any], digests: Sequence[str]) -> list[Shown]:
        known = [*digests, *[""] * (len(pictures) - len(digests))]
        return [
            self._pictures.add(picture, digest)
            for picture, digest in zip(pictures, known, strict=False)
        ]

    def _verdicts(self, sample: Sample, record: ResponseRecord) -> dict[Profile, Verdict]:
        """The scores file has one profile's parsed answer; the rules are run again for the rest."""
        if not self._rescores or record.response is None or not sample.answers:
            return {}
        prediction = Prediction(id=sample.id, response=record.response)
        task = self._source.task
        return self._reading.verdicts(task, sample, prediction)


def _as_json(request: Request) -> dict[str, Json]:
    place = iter(range(len(pictures_of(request))))
    return {
        "messages": [
            [m.role, [piece if isinstance(piece, str) else next(place) for piece in m.content]]
            for m in request.messages
        ],
        "answer_prefix": request.answer_prefix,
        "max_new_tokens": request.max_new_tokens,
        "stop": request.stop,
        "bad_words": request.bad_words,
        "candidates": request.candidates,
    }

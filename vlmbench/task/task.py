"""A task: what is asked and what is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps

from vlmbench.data.predictions.conventions import Conventions
from vlmbench.data.rows import Row
from vlmbench.data.splits import Split
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.metrics.judge import JudgePrompt
from vlmbench.schema import PROFILES, Prediction, Profile, Sample, Verdict
from vlmbench.task import prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A benchmark: splits, reading of rows, prompt form and scoring, and its names elsewhere."""

    name: str
    version: int = 1
    """Rises with any change that can move a score; boards never mix versions."""

    title: str = ""
    """Name in the authors' own spelling; empty: `name`."""

    metric: str
    """What the headline number is: "vqa_accuracy", "anls", "circular_accuracy", ..."""

    splits: tuple[Split, ...]
    """The first is the default."""

    read: Callable[[Row], Sample]
    score: Callable[[Sample, Prediction, Profile], Verdict]
    """Called with predictions that did not fail; one on which it raises is a failed sample."""

    form: str
    """Which wording of a prompt style applies: one of `prompts.FORMS`."""

    max_new_tokens: int | None = None
    """None: the prompt style's own limit."""

    profiles: tuple[Profile, ...] = PROFILES
    """Profiles whose harness has this task."""

    judge: JudgePrompt | None = None
    """How a language model may extract the answer from a response; None: it never does."""

    train: Split | None = None
    """Split of few-shot examples; None: the benchmark has no training split."""

    conventions: Conventions = field(default_factory=Conventions)
    """What other harnesses, their files and the benchmark's server call it and its samples."""

    hub_task: str = "visual-question-answering"
    """The hub's name of such tasks, for model cards."""

    board_order: int | None = None
    """Boards show tasks with a lower number first; None: after those with one, by name."""

    def __post_init__(self) -> None:
        splits = [split.name for split in self._every_split()]
        if not self.splits or len(set(splits)) < len(splits):
            raise VlmbenchError(f"task {self.name!r}: no splits, or two of one name: {splits}")
        object.__setattr__(self, "read", _by_line(self.name, self.read))
        if not self.name.isidentifier():
            raise VlmbenchError(f"task name {self.name!r} is not letters, digits and underscores")
        if self.form not in prompts.FORMS:
            raise no_such("prompt form", self.form, prompts.FORMS)
        for name in self.conventions.splits - set(splits):
            raise no_such("split", name, splits, f"of {self.name} (in its conventions)")
        if "official" not in self.profiles:
            raise VlmbenchError(f"task {self.name!r} lacks the profile 'official'")

    def split(self, name: str | None) -> Split:
        """The split of that name, the training split too; None: the first."""
        if name is None:
            return self.splits[0]
        splits = {split.name: split for split in self._every_split()}
        if name not in splits:
            raise no_such("split", name, splits, f"of {self.name}")
        return splits[name]

    def _every_split(self) -> tuple[Split, ...]:
        """MMMU draws its examples from a split that is also evaluated."""
        trains = [split.train for split in self.splits if split.train]
        if self.train is not None and self.train not in self.splits:
            trains.append(self.train)
        return (*self.splits, *trains)


def _by_line(task: str, read: Callable[[Row], Sample]) -> Callable[[Row], Sample]:
    """`read`, which names the row where it cannot be read, whatever it raises there."""

    @wraps(read)
    def read_by_line(row: Row) -> Sample:
        try:
            return read(row)
        except VlmbenchError:
            raise
        except Exception as error:  # rows and task files come from strangers
            why = f"{type(error).__name__}: {error}"
            raise VlmbenchError(f"{row.where}: {task} cannot read this row ({why})") from error

    return read_by_line

"""How files of other tools name a benchmark and write its samples: values that a task states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Gold = Literal["absent", "answers", "options", "problem", "row"]
"""How a file of another harness carries a sample with its gold answer.

- absent: not at all, or not in a form to score by.
- answers: the question, and a list of gold answers.
- options: MMMU's, with an option in each of the columns A, B, ...
- problem: MathVista's, with what its extraction and comparison need.
- row: the columns of the hub's row.
"""

SubmissionFormat = Literal["answers", "letters by id", "problems by id", "sheet"]
"""The format of a benchmark's own server.

- answers: a JSON list of `{id column: ..., "answer": "..."}`.
- letters by id: a JSON object, id to final answer (MMMU).
- problems by id: a JSON object, id to problem with response and extraction (MathVista).
- sheet: an xlsx file with a row a sample (MMBench).
"""

METADATA = (
    *("category", "context", "grade", "img_height", "img_width"),
    *("language", "skills", "source", "split", "task"),
)
"""Fields of MathVista's column `metadata`, which other harnesses write as columns of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessNames:
    """A benchmark in another harness: what its tasks are called there, and its score."""

    names: Mapping[str, tuple[str, ...]]
    """Our split to the harness's names of it: {"validation": ("mmmu_val", "mmmu_val_qwen")}."""

    percent: int
    """What makes percent of the harness's score: 100, or 1 where it is percent already."""

    metrics: tuple[str, ...] = ()
    """Names that the score has had, where the harness has one for each task (lmms-eval)."""

    rewrites_gold: bool = False
    """True: its scorer normalises gold answers in place before they are logged."""

    reasoning_tags: tuple[tuple[str, str], ...] | None = None
    """Tags whose content its task takes out of a response (lmms-eval); None: its default ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The file that a benchmark's own server takes."""

    server: str
    """The name for `vlmbench submit --to`."""

    format: SubmissionFormat
    splits: tuple[str, ...]
    goes_to: str
    """Place to submit the file, and its state when it was last looked up."""

    whole: Mapping[str, str] = field(default_factory=dict)
    """Split to the larger one whose ids the file must all hold: {"test-dev": "test-std"}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """What readers of prediction files must know of a task."""

    ids: tuple[str, ...] = ("id", "question_id", "questionId", "pid", "index")
    """Columns that may hold a sample's id, in order; the first is the data set's own."""

    id_begins_with_split: bool = False
    """True: ids tell their split, "validation_Art_1"."""

    has_extraction: bool = True
    """False: the official evaluator takes the response as it is, so a file may extract nothing."""

    gold: Gold = "absent"
    num_golds: int | None = None
    """Gold answers of each sample; fewer in a file of answers are none. None: any number."""

    llava_ids_are_pictures: bool = False
    """True: LLaVA's answer files have the picture's id as `question_id`."""

    lmms_eval: HarnessNames | None = None
    """None: lmms-eval does not have the benchmark; so with the next four."""

    vlmevalkit: HarnessNames | None = None
    evalscope: HarnessNames | None = None
    """Its names are patterns of file names, as it has a file for each subset: "mmmu_[A-Z]*"."""

    inspect_ai: HarnessNames | None = None
    """Tasks of inspect_evals."""

    submission: Submission | None = None

    @property
    def splits(self) -> set[str]:
        """All splits that are named here; a task must have them."""
        found = set[str]()
        for harness in (self.lmms_eval, self.vlmevalkit, self.evalscope, self.inspect_ai):
            found |= harness.names.keys() if harness else set()
        if self.submission:
            found |= {*self.submission.splits, *self.submission.whole.values()}
        return found

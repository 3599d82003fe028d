"""TextVQA 0.5.1 (Singh et al., 2019): questions about text in a photograph, ten answers each."""

from vlmbench.data.rows import Row
from vlmbench.data.splits import Hub, Split, drawn
from vlmbench.metrics import vqa
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task.task import Task

LEVELS = ("large text", "small text")
"""Of the mini split; no class of Open Images has such a name."""


def split(name: str, size: int, *, public: bool = True) -> Split:
    ids = ("lmms-lab-encoder/textvqa", "lmms-lab/textvqa")  # moved in July 2026
    return Split(
        name=name,
        sources=tuple(Hub(id=id, files=f"data/{name}", revision="main") for id in ids),  # no hash
        size=size,
        answers="public" if public else "hidden",
        columns=("question_id", "image_id", "question", "answers"),
    )


def read(row: Row) -> Sample:
    id = row.id("question_id")
    answers = row.texts("answers")
    classes = row.texts("image_classes") if row.has("image_classes") else ()
    levels = tuple(name for name in classes if name in LEVELS)
    return Sample(
        id=id,
        image_group=row.cell("image_id") or id,
        images=row.pictures("image"),
        question=row.text("question", missing=""),
        answers=answers if any(answers) else (),  # ten empty texts in the test split
        ocr_tokens=row.texts("ocr_tokens") if row.has("ocr_tokens") else (),
        breakdown={"level": levels} if levels else {},
    )


def score(sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
    return vqa.textvqa(prediction.response or "", sample.answers, profile)


VALIDATION = split("validation", 5_000)
TASK = Task(
    name="textvqa",
    version=1,
    title="TextVQA",
    metric="vqa_accuracy",
    splits=(
        VALIDATION,
        split("test", 5_734, public=False),
        drawn("mini", VALIDATION, scenes="textvqa", size=500),
    ),
    train=split("train", 34_602),
    read=read,
    score=score,
    form="textvqa",
)

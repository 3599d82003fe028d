"""TextVQA 0.5.1 (Singh et al., 2019): questions about text in a photograph, ten answers each."""

from vlmbench.data import Hub, Row, Split, drawn
from vlmbench.data.predictions import Conventions, HarnessNames, Submission
from vlmbench.metrics import vqa
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task import Task

LEVELS = ("large text", "small text")
"""Mini split's levels; no Open Images class has such a name."""


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
CONVENTIONS = Conventions(
    ids=("question_id", "index"),
    has_extraction=False,
    gold="answers",
    num_golds=10,
    llava_ids_are_pictures=True,
    lmms_eval=HarnessNames(
        names={"validation": ("textvqa_val",)},
        metrics=("exact_match",),
        percent=100,
        rewrites_gold=True,
    ),
    vlmevalkit=HarnessNames(names={"validation": ("TextVQA_VAL",)}, percent=1),
    submission=Submission(
        server="textvqa-evalai",
        format="answers",
        splits=("test", "validation"),
        goes_to="EvalAI, challenge 551 (its phases are over)",
    ),
)
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
    conventions=CONVENTIONS,
    board_order=2,
)

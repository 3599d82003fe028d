"""VQAv2 (Goyal et al., 2017): questions about COCO photographs, ten human answers each."""

from vlmbench.data import Hub, Row, Split, drawn
from vlmbench.data.predictions import Conventions, HarnessNames, Submission
from vlmbench.metrics import vqa
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task import Task

COLUMNS = ("question_id", "image_id", "question", "answers")


def split(name: str, file: str, size: int, *, public: bool = False) -> Split:
    """A split; the hub's "test" is test-std, of which test-dev is a part."""
    revision = "32665d35052eb4a6d4414851c3c829a72754915a"
    ids = ("lmms-lab-encoder/VQAv2", "lmms-lab/VQAv2")  # moved in July 2026
    return Split(
        name=name,
        sources=tuple(Hub(id=id, files=f"data/{file}", revision=revision) for id in ids),
        size=size,
        answers="public" if public else "hidden",
        columns=COLUMNS,
    )


def read(row: Row) -> Sample:
    id = row.id("question_id")
    kinds = {name: row.cell(name) for name in ("answer_type", "question_type")}
    return Sample(
        id=id,
        image_group=row.cell("image_id") or id,
        images=row.pictures("image"),
        question=row.text("question", missing=""),
        answers=row.texts("answers", field="answer"),  # null in the test splits
        breakdown={name: (kind,) for name, kind in kinds.items() if kind},
    )


def score(sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
    return vqa.vqav2(prediction.response or "", sample.answers, profile)


TRAIN = Split(
    name="train",
    sources=(Hub(id="pminervini/VQAv2", files="data/train", revision="main"),),  # hash not known
    size=443_757,
    answers="public",
    columns=COLUMNS,
)
VALIDATION = split("validation", "validation", 214_354, public=True)
CONVENTIONS = Conventions(
    ids=("question_id", "index"),
    has_extraction=False,
    gold="answers",
    num_golds=10,
    lmms_eval=HarnessNames(
        names={"validation": ("vqav2_val",)},
        metrics=("exact_match",),
        percent=100,
        rewrites_gold=True,
    ),
    evalscope=HarnessNames(names={"validation": ("vqav2_*",)}, percent=100),
    submission=Submission(
        server="vqav2-evalai",
        format="answers",
        splits=("test-std", "test-dev"),
        goes_to="EvalAI, challenge 830 (unreliable since 2025)",
        whole={"test-dev": "test-std"},
    ),
)
TASK = Task(
    name="vqav2",
    version=1,
    title="VQAv2",
    metric="vqa_accuracy",
    splits=(
        VALIDATION,
        split("test-dev", "testdev", 107_394),
        split("test-std", "test", 447_793),
        drawn("mini", VALIDATION, scenes="vqav2", size=676),
        drawn("easy-vqa", VALIDATION, scenes="easy_vqa", size=9_673),
    ),
    train=TRAIN,
    read=read,
    score=score,
    form="short_answer",
    profiles=vqa.VQAV2_PROFILES,
    conventions=CONVENTIONS,
    board_order=1,
)

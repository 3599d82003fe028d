"""DocVQA (Mathew et al., 2020), single page: questions about scanned documents, scored by ANLS."""

from vlmbench.data import Hub, Row, Split, drawn
from vlmbench.data.predictions import Conventions, HarnessNames, Submission
from vlmbench.metrics import anls
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task import Task

REVISION = "59fed3cdc38662abeef8f363171b2ec7c95c165c"
M4_REVISION = "695cc83877dd856b4d309063de9a278c37be7bc5"


def split(name: str, size: int, *, public: bool = True) -> Split:
    ids = ("lmms-lab-encoder/DocVQA", "lmms-lab/DocVQA")  # moved in July 2026
    lmms = (Hub(id=id, files=f"DocVQA/{name}", revision=REVISION) for id in ids)
    m4 = Hub(id="HuggingFaceM4/DocumentVQA", files=f"data/{name}", revision=M4_REVISION)
    return Split(
        name=name,
        sources=(*lmms, m4),
        size=size,
        answers="public" if public else "hidden",
        columns=("questionId", "question", "answers"),
    )


def read(row: Row) -> Sample:
    id = row.id("questionId")
    page = filter(None, (row.cell("docId"), row.cell("ucsf_document_page_no")))
    kinds = row.texts("question_types") if row.has("question_types") else ()
    return Sample(
        id=id,
        image_group="/".join(page) or id,
        images=row.pictures("image"),
        question=row.text("question", missing=""),
        answers=row.texts("answers"),  # null in the test split
        breakdown={"question_type": kinds} if kinds else {},
    )


def score(sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
    return anls.docvqa(prediction.response or "", sample.answers, profile)


VALIDATION = split("validation", 5_349)
CONVENTIONS = Conventions(
    ids=("questionId", "question_id", "index"),
    has_extraction=False,
    gold="answers",
    lmms_eval=HarnessNames(names={"validation": ("docvqa_val",)}, metrics=("anls",), percent=100),
    vlmevalkit=HarnessNames(names={"validation": ("DocVQA_VAL",)}, percent=1),
    evalscope=HarnessNames(names={"validation": ("docvqa_*",)}, percent=100),
    inspect_ai=HarnessNames(names={"validation": ("docvqa",)}, percent=100),
    submission=Submission(
        server="docvqa-rrc",
        format="answers",
        splits=("test",),
        goes_to="rrc.cvc.uab.es, challenge 17, task 1",
    ),
)
TASK = Task(
    name="docvqa",
    version=1,
    title="DocVQA",
    metric="anls",
    splits=(
        VALIDATION,
        split("test", 5_188, public=False),
        drawn("mini", VALIDATION, scenes="docvqa", size=462),
    ),
    train=split("train", 39_463),
    read=read,
    score=score,
    form="docvqa",
    conventions=CONVENTIONS,
    hub_task="document-question-answering",
    board_order=3,
)

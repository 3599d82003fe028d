"""MMMU (Yue et al., 2024): college questions with interleaved pictures; choices and open ones."""

import ast
from string import ascii_uppercase

from vlmbench.data import AnswerFile, Hub, Row, Split, drawn
from vlmbench.data.predictions import Conventions, HarnessNames, Submission
from vlmbench.metrics import choice_judge, mmmu
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task import Task

REVISION = "364f2e2eb107b36e07ff4c5a15f5947a759cef47"
PICTURES = tuple(f"image_{number}" for number in range(1, 8))
DOMAIN_OF = {subject: domain for domain, names in mmmu.DOMAINS.items() for subject in names}
TEST_ANSWERS = AnswerFile(  # public since February 2026, in the benchmark's repository
    name="answer_dict_test.json", id="id", columns={"answer": "ground_truth"}
)


def split(name: str, size: int, *, answer_file: AnswerFile | None = None) -> Split:
    ids = ("lmms-lab-encoder/MMMU", "lmms-lab/MMMU")  # moved in July 2026
    lmms = (Hub(id=id, files=f"data/{name}", revision=REVISION) for id in ids)
    official = Hub(id="MMMU/MMMU", files=f"*/{name}", revision="main")  # a folder a subject
    return Split(
        name=name,
        sources=(*lmms, official),
        size=size,
        answers="some sources" if answer_file else "public",
        columns=("id", "question", "options", "answer", "question_type"),
        pictures=PICTURES,
        answer_file=answer_file,
    )


def listed(source: str) -> tuple[str, ...] | None:
    """The texts of a list as Python writes it, "['24/7', '3.429']"; None: it is no such list."""
    try:
        value = ast.literal_eval(source)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_list else None


def options_of(row: Row) -> dict[str, str]:
    value = row.raw("options")
    options = listed(value) if isinstance(value, str) else row.texts("options")
    if not options:
        raise row.wrong("options", "a list of texts as Python writes it")
    return dict(zip(ascii_uppercase, options, strict=False))


def answers_of(row: Row) -> tuple[str, ...]:
    value = row.raw("answer")
    if isinstance(value, list):
        return row.texts("answer")
    text = row.cell("answer")
    if text in ("", "?"):  # the test split
        return ()
    return (listed(text) if text.startswith("[") else None) or (text,)


def read(row: Row) -> Sample:
    id = row.id("id")
    subject = id.partition("_")[2].rpartition("_")[0]
    kind = "multiple-choice" if row.text("question_type") == "multiple-choice" else "open"
    breakdown = {
        "domain": DOMAIN_OF.get(subject, ""),
        "subject": subject,
        "question_type": kind,
        "difficulty": row.cell("topic_difficulty"),
    }
    return Sample(
        id=id,
        image_group=id,
        images=row.pictures(*PICTURES, are_optional=True),  # its text names those that it needs
        question=row.text("question", missing=""),
        interleaved=True,
        options=options_of(row) if kind == "multiple-choice" else {},
        answers=answers_of(row),
        breakdown={name: (value,) for name, value in breakdown.items() if value},
    )


def score(sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
    is_choice = sample.breakdown["question_type"] == ("multiple-choice",)
    if prediction.is_final:
        final = str(prediction.final)
        return mmmu.final_answer(final, sample.answers, is_multiple_choice=is_choice)
    response = prediction.response or ""
    if is_choice:
        return mmmu.multiple_choice(response, sample.options, sample.answers, profile)
    return mmmu.open_question(response, sample.answers, profile)


VALIDATION = split("validation", 900)
CONVENTIONS = Conventions(
    ids=("id",),  # VLMEvalKit's index is only a running number
    id_begins_with_split=True,
    gold="options",
    lmms_eval=HarnessNames(
        names={
            "validation": ("mmmu_val", "mmmu_val_group_img", "mmmu_val_qwen"),
            "test": ("mmmu_test",),
        },
        metrics=("mmmu_acc",),
        percent=100,
    ),
    vlmevalkit=HarnessNames(
        names={
            "validation": ("MMMU_DEV_VAL",),
            "dev": ("MMMU_DEV_VAL",),
            "test": ("MMMU_TEST",),
        },
        percent=100,
    ),
    evalscope=HarnessNames(names={"validation": ("mmmu_[A-Z]*",)}, percent=100),
    inspect_ai=HarnessNames(
        names={"validation": ("mmmu_multiple_choice", "mmmu_open")}, percent=100
    ),
    submission=Submission(
        server="mmmu-evalai",
        format="letters by id",
        splits=("test", "validation"),
        goes_to="EvalAI, challenge 2179 (silent since January 2026; the answers are public)",
    ),
)
TASK = Task(
    name="mmmu",
    version=1,
    title="MMMU",
    metric="accuracy",
    splits=(
        VALIDATION,
        split("dev", 150),
        split("test", 10_500, answer_file=TEST_ANSWERS),
        drawn("mini", VALIDATION, scenes="mmmu", size=300),
    ),
    train=split("dev", 150),
    read=read,
    score=score,
    judge=choice_judge.JUDGE,
    form="mmmu",
    conventions=CONVENTIONS,
    board_order=4,
)

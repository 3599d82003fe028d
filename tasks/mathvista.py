"""MathVista (Lu et al., 2024): mathematics in visual contexts; text, number and list answers."""

from __future__ import annotations

from string import ascii_uppercase

from vlmbench.data import Hub, Row, Split, drawn
from vlmbench.data.predictions import Conventions, HarnessNames, Submission
from vlmbench.metrics import mathvista
from vlmbench.metrics.judge import JudgePrompt
from vlmbench.metrics.mathvista import judging
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task import Task

REVISION = "2b6ad69445fbb5695c9b165475e8decdbeb97747"
METADATA = ("language", "source", "category", "task", "context", "grade", "skills")


def split(name: str, size: int, *, public: bool) -> Split:
    return Split(
        name=name,
        sources=(Hub(id="AI4Math/MathVista", files=f"data/{name}", revision=REVISION),),
        size=size,
        answers="public" if public else "hidden",
        columns=(
            *("pid", "question", "choices", "unit", "precision", "answer"),
            *("question_type", "answer_type", "metadata"),
        ),
        pictures=("decoded_image",),  # "image" is its path
    )


def read(row: Row) -> Sample:
    id = row.id("pid")
    metadata = row.record("metadata")
    choices = row.texts("choices") if row.has("choices") else ()
    answer = row.cell("answer")  # null or empty in the test split
    groups = {
        name: tuple(map(str, value)) if isinstance(value, list) else (str(value),)
        for name in METADATA
        if (value := metadata.get(name))
    }
    return Sample(
        id=id,
        image_group=row.cell("image") or id,
        images=row.pictures("decoded_image"),
        question=row.text("question", missing=""),
        options=dict(zip(ascii_uppercase, choices, strict=False)),
        answers=(answer,) if answer else (),
        breakdown={name: (row.text(name),) for name in ("question_type", "answer_type")} | groups,
        facts={"precision": row.number("precision"), "unit": row.cell("unit")},
    )


def problem_of(sample: Sample) -> mathvista.Problem:
    precision = sample.facts["precision"]
    return mathvista.Problem(
        question_type=sample.breakdown["question_type"][0],
        answer_type=sample.breakdown["answer_type"][0],
        precision=precision if isinstance(precision, float) else None,
        choices=tuple(sample.options.values()),
        unit=str(sample.facts["unit"]) or None,
        question=sample.question,
        answer=sample.answers[0],
    )


def score(sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
    problem = problem_of(sample)
    if prediction.is_final:
        return mathvista.verdict_of_extraction(prediction.final, problem, profile)
    return mathvista.verdict(prediction.response or "", problem, profile)


JUDGE = JudgePrompt(
    known=lambda sample, response: judging.known(response, problem_of(sample)),
    messages=lambda sample, response: judging.messages(response, problem_of(sample)),
    read=judging.read,
)

TESTMINI = split("testmini", 1_000, public=True)
CONVENTIONS = Conventions(
    ids=("pid", "question_id", "index"),
    gold="problem",
    lmms_eval=HarnessNames(
        names={
            "testmini": (
                *("mathvista_testmini", "mathvista_testmini_cot"),
                *("mathvista_testmini_format", "mathvista_testmini_solution"),
            )
        },
        metrics=("llm_as_judge_eval", "gpt_eval_score"),
        percent=1,
    ),
    vlmevalkit=HarnessNames(names={"testmini": ("MathVista_MINI",)}, percent=1),
    evalscope=HarnessNames(names={"testmini": ("math_vista_*",)}, percent=100),
    inspect_ai=HarnessNames(names={"testmini": ("mathvista",)}, percent=100),
    submission=Submission(
        server="mathvista",
        format="problems by id",
        splits=("testmini", "test"),
        goes_to="the authors, by e-mail (lupantech@gmail.com)",
    ),
)
TASK = Task(
    name="mathvista",
    version=1,
    title="MathVista",
    metric="accuracy",
    splits=(
        TESTMINI,
        split("test", 5_141, public=False),
        drawn("mini", TESTMINI, scenes="mathvista", size=416),
    ),
    read=read,
    score=score,
    judge=JUDGE,
    form="mathvista",
    conventions=CONVENTIONS,
    board_order=5,
)

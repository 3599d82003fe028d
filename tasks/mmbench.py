"""MMBench (Liu et al., 2023): multiple choice; right only if right in every rotation of options."""

from vlmbench.data import Hub, Row, Split, Url, drawn
from vlmbench.data.predictions import Conventions, HarnessNames, Submission
from vlmbench.metrics import choice_judge, mmbench
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task import Task

REVISION = "ac155b9c318a37ac5a75267b18cbca12cbcc6bab"
OLD_REVISION = "ecd23e001f5c649c959eda84b846a01cc6fafbde"
MOVED = ("lmms-lab-encoder/MMBench", "lmms-lab/MMBench")  # in July 2026
SERVER = "https://opencompass.openxlab.space/utils/benchmarks/MMBench"
ROTATION = 1_000_000
MAX_DIGITS = 18


def split(name: str, size: int | None, *sources: Hub | Url) -> Split:
    part = name.partition("-")[0]
    is_dev = part == "dev"
    columns = ("index", "question", "A", "B")
    return Split(
        name=name,
        sources=sources,
        size=size,
        answers="public" if is_dev else "some sources",  # published after the server closed
        columns=(*columns, "answer") if is_dev else columns,
        only={"split": part},  # the files with the answers of the test split hold both
    )


def hub(files: str) -> tuple[Hub, ...]:
    """The hub's copies of version 1.0 (of 3 October 2023)."""
    return tuple(Hub(id=id, files=files, revision=REVISION) for id in MOVED)


def official(file: str, md5: str) -> Url:
    return Url(url=f"{SERVER}/{file}.tsv", md5=md5)


def read(row: Row) -> Sample:
    id = row.id("index")
    if not (id.isascii() and id.isdecimal() and len(id) <= MAX_DIGITS):
        raise row.wrong("index", "a whole number")
    rotation, question = divmod(int(id), ROTATION)
    options = {letter: text for letter in "ABCD" if (text := row.cell(letter))}
    answer = row.cell("answer").strip()
    breakdown = {
        "category": row.cell("category"),
        "l2-category": row.cell("l2-category") or row.cell("L2-category"),
        "split": row.cell("split"),
    }
    return Sample(
        id=id,
        image_group=str(question),
        images=row.pictures("image"),
        question=row.text("question", missing=""),
        hint=row.cell("hint"),
        options=options,
        answers=(answer,) if answer in options else (),
        circular_group=str(question),
        rotation=rotation,
        breakdown={name: (value,) for name, value in breakdown.items() if value},
    )


def score(sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
    if prediction.is_final:  # a judge's letter
        return mmbench.letter_verdict(str(prediction.final), sample.answers[0])
    return mmbench.row(prediction.response or "", sample.options, sample.answers[0], profile)


DEV = split("dev-en", 4_329, *hub("en/dev"))
CONVENTIONS = Conventions(
    ids=("index",),
    has_extraction=False,
    gold="row",
    lmms_eval=HarnessNames(
        names={
            "dev-en": ("mmbench_en_dev", "mmbench_en_dev_static"),
            "dev-cn": ("mmbench_cn_dev",),
        },
        metrics=("gpt_eval_score", "static_eval_score"),
        percent=1,
    ),
    vlmevalkit=HarnessNames(
        names={
            "dev-en": ("MMBench_DEV_EN",),
            "dev-cn": ("MMBench_DEV_CN",),
            "dev-en-v1.1": ("MMBench_DEV_EN_V11",),
            "test-en": ("MMBench_TEST_EN",),
            "test-en-v1.1": ("MMBench_TEST_EN_V11",),
        },
        percent=100,
    ),
    evalscope=HarnessNames(
        names={"dev-en": ("mm_bench_en",), "dev-cn": ("mm_bench_cn",)}, percent=100
    ),
    submission=Submission(
        server="mmbench",
        format="sheet",
        splits=(
            *("test-en", "dev-en", "dev-cn", "test-en-v1.1", "dev-en-v1.1"),
            "dev-en-20230712",
        ),
        goes_to="mmbench.opencompass.org.cn (closed in April 2026)",
    ),
)
TASK = Task(
    name="mmbench",
    version=1,
    title="MMBench",
    metric="circular_accuracy",
    splits=(
        DEV,
        split("test-en", 6_666, *hub("en/test")),
        split("dev-cn", 4_329, *hub("cn/dev")),
        split(
            "dev-en-v1.1", None, official("MMBench_DEV_EN_V11", "30c05be8f2f347a50be25aa067248184")
        ),
        split(
            "test-en-v1.1",
            None,
            official("MMBench_V11", "b9276414f57af1308dcc4d0cd9b42e7c"),  # the one with answers
            official("MMBench_TEST_EN_V11", "8d1a704e791df6f5d9fb3ef782b65365"),
        ),
        split(
            "dev-en-20230712",
            4_377,
            Hub(id="lmms-lab/MMBench_EN", files="data/dev", revision=OLD_REVISION),
        ),
        drawn("mini", DEV, scenes="mmbench", size=684),
    ),
    read=read,
    score=score,
    judge=choice_judge.JUDGE,
    form="choice",
    conventions=CONVENTIONS,
    board_order=6,
)

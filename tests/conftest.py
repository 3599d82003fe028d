"""Fixtures and settings for every test folder."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import signal
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from PIL import Image, ImageDraw

hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
if num_examples := os.environ.get("VLMBENCH_FUZZ_EXAMPLES"):  # scripts/fuzz
    hypothesis.settings.register_profile("fuzz", max_examples=int(num_examples), deadline=None)
hypothesis.settings.load_profile("fuzz" if num_examples else "seeded")

# a shell that starts the tests in its background has SIGINT ignored, and so would their processes
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_QUESTIONS = ("gold.jsonl", "problems.jsonl")
"""Where a task's models answer the same questions, these stand once, in the task's folder."""

QUESTION_KEYS = ("question_id", "pid")


@pytest.fixture(scope="session")
def conformance() -> Callable[[str], tuple[list[dict[str, Any]], dict[str, Any]]]:
    """A function: the name of a case, such as "vqa/differential" -> (its rows, `expected.json`).

    A row that only names its question has the question's fields too; where both have a field, the
    row's stands. The folder is VLMBENCH_CONFORMANCE, or `shared/conformance` beside the repository;
    a test is skipped where it has no such case. Each call reads anew: a test may change its rows.
    """

    def read(name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        case = _conformance_folder() / name
        if not (case / "expected.json").is_file():
            pytest.skip(f"no conformance case {case}")
        questions = _questions(case.parent)
        rows = [questions.get(_question(row), {}) | row for row in _lines(case / "input.jsonl")]
        return rows, json.loads((case / "expected.json").read_text("utf-8"))

    return read


@pytest.fixture(scope="session")
def conformance_cases() -> Callable[[str], list[str]]:
    """A function: a pattern, such as "docvqa/*" -> the names of the cases there; skips if none.

    Folders hold different models' outputs: a test that loops over these covers whatever is there.
    """

    def names(pattern: str) -> list[str]:
        folder = _conformance_folder()
        found = folder.glob(f"{pattern}/expected.json")
        cases = sorted(path.parent.relative_to(folder).as_posix() for path in found)
        return cases or pytest.skip(f"no conformance case {folder / pattern}")

    return names


def _conformance_folder() -> Path:
    beside = Path(__file__).parents[2] / "shared" / "conformance"
    return Path(os.environ.get("VLMBENCH_CONFORMANCE", beside))


def _questions(task_folder: Path) -> dict[object, dict[str, Any]]:
    shared = [task_folder / name for name in SHARED_QUESTIONS]
    return {_question(row): row for path in shared if path.is_file() for row in _lines(path)}


def _question(row: dict[str, Any]) -> object:
    return next((row[key] for key in QUESTION_KEYS if key in row), None)


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def pytest_configure(config: pytest.Config) -> None:
    """No test reads or fills the user's caches or asks the hub; set before anything is imported."""
    caches = tempfile.mkdtemp(prefix="vlmbench-tests-")
    config.add_cleanup(lambda: shutil.rmtree(caches, ignore_errors=True))
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        os.environ.pop(name, None)
    os.environ |= {"HF_HOME": caches, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"


@pytest.fixture(scope="session")
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """A function: a block in which no file can grow beyond 100 bytes, as on a full disk."""

    @contextmanager
    def limited() -> Iterator[None]:
        before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))

    return limited


@pytest.fixture(scope="session")
def made_rows() -> Callable[..., list[dict[str, Any]]]:
    """A function: task and split -> rows with all of the hub's columns, and drawn pictures.

    They are the samples of results/examples. A split whose answers are hidden has the hub's
    placeholders; the training split has ids of its own.
    """
    return _made_rows


@pytest.fixture(scope="session")
def hub_copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function: a task -> a folder with its splits as parquet files, as they are on the hub.

    `hub_copy(task, split)` holds that split alone, `hub_copy(task, split, rows)` other rows of it.
    """
    copies: dict[tuple[str, str | None], Path] = {}

    def copy(task: str, split: str | None = None, rows: Any = None) -> Path:
        if rows is None and (task, split) in copies:
            return copies[task, split]
        folder = tmp_path_factory.mktemp("copy") / task
        for name in HUB_FILES[task] if split is None else [split]:
            _write(folder, task, name, _made_rows(task, name) if rows is None else rows)
        if rows is None:
            copies[task, split] = folder
        return folder

    return copy


@pytest.fixture(scope="session")
def hub_copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `--data-dir` with all splits of the six tasks, each in a folder with the task's name."""
    root = tmp_path_factory.mktemp("data")
    for task, files in HUB_FILES.items():
        for split in files:
            _write(root / task, task, split, _made_rows(task, split))
    return root


HUB_FILES = {
    "vqav2": {
        "validation": "data/validation",
        "test-dev": "data/testdev",
        "test-std": "data/test",
        "train": "data/train",
    },
    "textvqa": {name: f"data/{name}" for name in ("validation", "test", "train")},
    "docvqa": {name: f"DocVQA/{name}" for name in ("validation", "test", "train")},
    "mmmu": {name: f"data/{name}" for name in ("validation", "dev", "test")},
    "mathvista": {name: f"data/{name}" for name in ("testmini", "test")},
    "mmbench": {"dev-en": "en/dev", "test-en": "en/test", "dev-cn": "cn/dev"},
}

PLACEHOLDERS: dict[str, dict[str, Any]] = {
    "vqav2": dict.fromkeys(
        ("answers", "answer_type", "question_type", "multiple_choice_answer"), None
    ),
    "textvqa": {"answers": [""] * 10},
    "docvqa": {"answers": None, "question_types": None},
    "mmmu": {"answer": "?"},
    "mathvista": {"answer": ""},
    "mmbench": {"answer": "nan"},
}
"""What the hub has where the answers are hidden; for the last two it could not be seen."""

HUB_COLUMNS: dict[str, dict[str, Any]] = {
    "vqav2": {
        **dict.fromkeys(("question_type", "multiple_choice_answer"), "string"),
        "answers": [{"answer": "string", "answer_confidence": "string", "answer_id": "int64"}],
        **{"image_id": "int64", "answer_type": "string", "question_id": "int64"},
        **{"question": "string", "image": "image"},
    },
    "textvqa": {
        **{"image_id": "string", "question_id": "int32", "question": "string"},
        **{"question_tokens": ["string"], "image": "image"},
        **{"image_width": "int32", "image_height": "int32", "flickr_original_url": "string"},
        **{"flickr_300k_url": "string", "answers": ["string"], "image_classes": ["string"]},
        **{"set_name": "string", "ocr_tokens": ["string"]},
    },
    "docvqa": {
        **{"questionId": "string", "question": "string", "question_types": ["string"]},
        **{"image": "image", "docId": "int64", "ucsf_document_id": "string"},
        **{"ucsf_document_page_no": "string", "answers": ["string"], "data_split": "string"},
    },
    "mmmu": {
        **dict.fromkeys(("id", "question", "options", "explanation"), "string"),
        **{f"image_{number}": "image" for number in range(1, 8)},
        **dict.fromkeys(("img_type", "answer", "topic_difficulty"), "string"),
        **dict.fromkeys(("question_type", "subfield"), "string"),
    },
    "mathvista": {
        **{"pid": "string", "question": "string", "image": "string", "decoded_image": "image"},
        **{"choices": ["string"], "unit": "string", "precision": "float64", "answer": "string"},
        **{"question_type": "string", "answer_type": "string"},
        "metadata": {
            **dict.fromkeys(("category", "context", "grade"), "string"),
            **{"img_height": "int64", "img_width": "int64", "language": "string"},
            **{"skills": ["string"], "source": "string", "split": "string", "task": "string"},
        },
        "query": "string",
    },
    "mmbench": {
        "index": "int64",
        **dict.fromkeys(("question", "hint", "A", "B", "C", "D", "answer", "category"), "string"),
        **{"image": "image", "source": "string", "L2-category": "string"},
        **{"comment": "string", "split": "string"},
    },
}


def _made_rows(task: str, split: str) -> list[dict[str, Any]]:
    examples = _lines(Path(__file__).parents[1] / "results" / "examples" / f"{task}.jsonl")
    columns = HUB_COLUMNS[task]
    rows = [dict.fromkeys(columns) | example["sample"] for example in examples]
    for row in rows:
        _add_pictures(task, row, [name for name, kind in columns.items() if kind == "image"])
        if "test" in split.partition("-")[0] and split != "testmini":
            row.update(PLACEHOLDERS[task])
        if task == "mmmu":
            row["id"] = row["id"].replace("validation", split)
        if split == "train":
            id = next(name for name in ("question_id", "questionId") if name in row)
            row[id] = type(row[id])(int(row[id]) + 5_000_000)
    return rows


def _add_pictures(task: str, row: dict[str, Any], columns: Sequence[str]) -> None:
    if task == "mmmu":
        named = set(re.findall(r"<image (\d)>", row["question"] + row["options"]))
        row.update({f"image_{n}": _drawn(f"{row['id']} {n}") for n in named})
        return
    shared = {"vqav2": "image_id", "textvqa": "image_id", "docvqa": "docId", "mathvista": "pid"}
    name = row["index"] % 1_000_000 if task == "mmbench" else row[shared[task]]
    row[columns[0]] = _drawn(f"{task} {name}")
    if task == "textvqa":
        row["image_width"], row["image_height"] = Image.open(io.BytesIO(row["image"]["bytes"])).size


def _drawn(name: str) -> dict[str, Any]:
    """A small picture that depends on `name` alone; kinds, modes and shapes differ."""
    seed = zlib.crc32(name.encode())
    kinds = (("JPEG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("JPEG", "L"), ("PNG", "P"))
    kind, mode = (*kinds, ("WEBP", "RGB"), ("JPEG", "CMYK"))[seed % 7]
    width, height = 48 + seed // 7 % 80, 48 + seed // 600 % 80
    image = Image.new("RGB", (width, height), f"hsl({seed % 360}, 60%, 70%)")
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 8, width - 8, height // 2), fill=f"hsl({seed // 360 % 360}, 80%, 40%)")
    draw.text((4, height - 16), name, fill="black")
    file = io.BytesIO()
    image.convert(mode).save(file, kind)
    return {"bytes": file.getvalue(), "path": f"{name}.{kind.lower()}"}


def _write(folder: Path, task: str, split: str, rows: Sequence[dict[str, Any]]) -> None:
    import datasets

    def feature(kind: Any) -> Any:
        if isinstance(kind, str):
            return datasets.Image() if kind == "image" else datasets.Value(kind)
        if isinstance(kind, list):
            return datasets.List(feature(kind[0]))
        return {name: feature(part) for name, part in kind.items()}

    columns = HUB_COLUMNS[task]
    features = datasets.Features(feature(columns))
    rows = [dict.fromkeys(columns) | row for row in rows]
    path = folder / f"{HUB_FILES[task][split]}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(path)

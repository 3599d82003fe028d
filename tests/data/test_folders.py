"""Which files of a local folder are a split's, and what is said where none are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vlmbench.data import splits
from vlmbench.errors import VlmbenchError
from vlmbench.task import loading

ROW = {"index": 1, "question": "?", "A": "x", "B": "y", "answer": "A", "image": "aGk="}
ROW |= {"question_id": 1, "image_id": 1, "answers": ["x"], "image_1": "aGk=", "id": "dev_Art_1"}
ROW |= {"options": "[]", "question_type": "open"}


@pytest.fixture
def chosen(tmp_path: Path) -> Callable[[str, Sequence[str]], list[str]]:
    """A function: task@split and file names -> the files whose rows are read, by their question."""

    def read(spec: str, names: Sequence[str]) -> list[str]:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(ROW | {"question": name}) + "\n", encoding="utf-8")
        found, split, _ = loading.parse_spec(spec)
        return [row.text("question") for row in splits.load(found.name, split, tmp_path)]

    return read


HUB_LAYOUT = ["en/dev-00000-of-00001.jsonl", "cn/dev-00000-of-00001.jsonl", "cc/test.jsonl"]


SHARDS = ["data/validation-00000-of-00002.jsonl", "data/validation-00001-of-00002.jsonl"]
SUBJECTS = ["Art/validation-00000-of-00001.jsonl", "Music/validation-00000-of-00001.jsonl"]
HASHED = "data/validation-00000-of-00001-725687bf7a18d64b.jsonl"
SAVED = "validation/data-00000-of-00001.jsonl"


@pytest.mark.parametrize(
    ("spec", "names", "expected"),
    [
        ("mmbench@dev-en", HUB_LAYOUT, HUB_LAYOUT[:1]),
        ("mmbench@dev-cn", HUB_LAYOUT, HUB_LAYOUT[1:2]),
        ("mmbench@dev-en", ["dev-en.jsonl", "dev-cn.jsonl"], ["dev-en.jsonl"]),
        ("mmbench@dev-en", ["MMBench_DEV_EN.jsonl"], ["MMBench_DEV_EN.jsonl"]),
        ("mmbench@test-en-v1.1", ["MMBench_V11.jsonl"], ["MMBench_V11.jsonl"]),
        ("textvqa", ["validation.jsonl", "test.jsonl", "train.jsonl"], ["validation.jsonl"]),
        ("textvqa", ["validation.jsonl", "predictions.jsonl"], ["validation.jsonl"]),
        ("textvqa", ["TextVQA_VAL.jsonl"], ["TextVQA_VAL.jsonl"]),
        ("textvqa", ["rows.jsonl"], ["rows.jsonl"]),
        ("textvqa", [SAVED, "test/data-00000-of-00001.jsonl"], [SAVED]),
        ("textvqa", SHARDS[::-1], SHARDS),
        ("textvqa", [HASHED], [HASHED]),
        ("mmmu", [*SUBJECTS, "Art/test-00000-of-00001.jsonl"], SUBJECTS),
        ("textvqa", ["textvqa/validation.jsonl", "validation.jsonl"], ["textvqa/validation.jsonl"]),
        ("vqav2@test-dev", ["data/testdev.jsonl", "data/test.jsonl"], ["data/testdev.jsonl"]),
        ("vqav2@test-std", ["data/testdev.jsonl", "data/test.jsonl"], ["data/test.jsonl"]),
        ("vqav2@train", ["train.jsonl", "validation.jsonl"], ["train.jsonl"]),
    ],
)
def test_the_splits_own_files_are_read(
    chosen: Callable[..., list[str]], spec: str, names: Sequence[str], expected: list[str]
) -> None:
    assert chosen(spec, names) == expected


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        pytest.param("textvqa", ["test.jsonl"], id="another split"),
        pytest.param("textvqa", ["TextVQA_TEST.jsonl"], id="another split, by an official name"),
        pytest.param("textvqa@test", ["TextVQA_VAL.jsonl"], id="another split, by half its name"),
        pytest.param("textvqa", ["dev_val.jsonl"], id="two splits in one file"),
        pytest.param("textvqa", ["a.jsonl", "b.jsonl"], id="two unnamed files"),
        pytest.param("textvqa", ["vqav2/data/validation.jsonl"], id="another task's folder"),
        pytest.param("mmbench@dev-cn", HUB_LAYOUT[:1], id="another language"),
        pytest.param("vqav2@test-dev", ["test.jsonl"], id="the larger split"),
    ],
)
def test_other_files_are_never_taken_for_the_split(
    chosen: Callable[..., list[str]], spec: str, names: Sequence[str]
) -> None:
    with pytest.raises(VlmbenchError, match=rf"has no file for {spec}.*; there are: ") as caught:
        chosen(spec, names)
    assert Path(names[0]).stem.partition("-0")[0] in str(caught.value)


def test_files_of_two_kinds_are_an_error(chosen: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "validation.parquet").write_bytes(b"")
    with pytest.raises(VlmbenchError, match=r"\.jsonl, \.parquet files lie together"):
        chosen("textvqa", ["validation.jsonl"])


def test_a_folder_that_is_a_link_is_read(chosen: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "textvqa").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "more").mkdir()
    (tmp_path / "elsewhere" / "data").symlink_to(tmp_path / "elsewhere" / "more")
    assert chosen("textvqa", ["elsewhere/more/validation.jsonl"]) == [
        "elsewhere/more/validation.jsonl"
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no folder .*here: --data-dir takes a folder of parquet, arrow, jso"),
        (lambda folder: folder.write_text(""), "no folder .*here: --data-dir takes a folder"),
        (lambda folder: folder.mkdir(), "no parquet, arrow, jsonl, tsv file in .*here"),
    ],
)
def test_a_folder_without_data_is_an_error(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "here")
    with pytest.raises(VlmbenchError, match=message):
        splits.load("textvqa", loading.find("textvqa").splits[0], tmp_path / "here")


def test_columns_that_a_task_reads_must_be_there(tmp_path: Path) -> None:
    split = loading.find("textvqa").splits[0]
    lines = [
        {"question_id": 1, "question": "?", "answers": ["a"]},
        {"question_id": 1, "image_id": 1, "question": "?", "answers": ["a"]},
    ]
    path = tmp_path / "validation.jsonl"
    path.write_text(json.dumps(lines[0]) + "\n", encoding="utf-8")
    with pytest.raises(VlmbenchError, match=r"lacks the columns image_id, image; there are: quest"):
        splits.load("textvqa", split, tmp_path)
    path.write_text(json.dumps(lines[1]) + "\n", encoding="utf-8")
    with pytest.raises(VlmbenchError, match=r"lacks the column image; there are: question_id, "):
        splits.load("textvqa", split, tmp_path)
    assert len(splits.load("textvqa", split, tmp_path, needs_pictures=False)) == 1


def test_a_split_without_sources_has_local_copies_only(tmp_path: Path) -> None:
    split = splits.Split(name="test", columns=("question",), pictures=())
    with pytest.raises(VlmbenchError, match=r"^mine@test cannot be downloaded; name a local"):
        splits.load("mine", split)
    (tmp_path / "validation.jsonl").write_text(json.dumps(ROW), encoding="utf-8")
    with pytest.raises(VlmbenchError, match=r"has no file for mine@test: expected test\.\*; there"):
        splits.load("mine", split, tmp_path)
    (tmp_path / "test.jsonl").write_text(json.dumps(ROW), encoding="utf-8")
    assert [row.text("question") for row in splits.load("mine", split, tmp_path)] == ["?"]


def test_a_file_without_rows_is_an_error(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    empty = pa.Table.from_pylist([ROW]).slice(0, 0)
    pq.write_table(empty, tmp_path / "validation.parquet")
    with pytest.raises(VlmbenchError, match=r"validation\.parquet"):
        splits.load("textvqa", loading.find("textvqa").splits[0], tmp_path)
    with pa.ipc.new_stream(tmp_path / "test.arrow", empty.schema) as writer:
        writer.write_table(empty)
    with pytest.raises(VlmbenchError, match="has no rows of test"):
        splits.load("textvqa", loading.find("textvqa").split("test"), tmp_path)

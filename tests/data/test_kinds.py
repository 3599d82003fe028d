"""Parquet, arrow, jsonl and tsv files with the hub's columns give the same samples."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageChops

from vlmbench.data import splits
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Sample
from vlmbench.task import loading

Copy = Callable[..., Path]
MakeRows = Callable[[str, str], list[dict[str, Any]]]

DEFAULTS = {
    **{"vqav2": "validation", "textvqa": "validation", "docvqa": "validation"},
    **{"mmmu": "validation", "mathvista": "testmini", "mmbench": "dev-en"},
}


def samples_in(folder: Path, name: str) -> list[Sample]:
    found = loading.find(name)
    return [found.read(row) for row in splits.load(name, found.split(DEFAULTS[name]), folder)]


def assert_same(ours: list[Sample], theirs: list[Sample]) -> None:
    assert len(ours) == len(theirs) >= 12
    for one, other in zip(ours, theirs, strict=True):
        assert dataclasses.replace(one, images={}) == dataclasses.replace(other, images={})
        assert one.images.keys() == other.images.keys()
        for number, picture in one.images.items():
            assert picture.encoded() == other.images[number].encoded()
            ours_decoded, theirs_decoded = picture.decode(), other.images[number].decode()
            assert ours_decoded.mode == theirs_decoded.mode
            assert not ImageChops.difference(ours_decoded, theirs_decoded).getbbox()


def as_text(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The rows with pictures as text: every other one base64, the others files in `folder`."""
    for number, row in enumerate(rows):
        for column, value in row.items():
            if not isinstance(value, dict) or "bytes" not in value:
                continue
            if number % 2:
                row[column] = base64.b64encode(value["bytes"]).decode()
            else:
                row[column] = f"pictures/{number} {value['path']}"
                (folder / "pictures").mkdir(parents=True, exist_ok=True)
                (folder / row[column]).write_bytes(value["bytes"])
    return rows


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", DEFAULTS)
def test_jsonl_is_read_as_parquet_is(
    name: str, hub_copy: Copy, made_rows: MakeRows, tmp_path: Path
) -> None:
    rows = as_text(made_rows(name, DEFAULTS[name]), tmp_path)
    write_lines(tmp_path / f"{DEFAULTS[name]}.jsonl", rows)
    assert_same(samples_in(tmp_path, name), samples_in(hub_copy(name), name))


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_saved_data_set_is_read_as_parquet_is(name: str, hub_copy: Copy, tmp_path: Path) -> None:
    import datasets

    (file,) = hub_copy(name, DEFAULTS[name]).rglob("*.parquet")
    saved = datasets.Dataset.from_parquet(str(file))
    saved.save_to_disk(tmp_path / DEFAULTS[name], num_shards=3)
    assert_same(samples_in(tmp_path, name), samples_in(hub_copy(name), name))


def test_parquet_shards_are_read_in_their_order(hub_copy: Copy, tmp_path: Path) -> None:
    import datasets

    whole = datasets.Dataset.from_parquet(str(next(hub_copy("vqav2", "validation").rglob("*.p*"))))
    for number in range(3):
        part = whole.shard(3, number, contiguous=True)
        part.to_parquet(tmp_path / f"data/validation-0000{number}-of-00003.parquet")
    assert_same(samples_in(tmp_path, "vqav2"), samples_in(hub_copy("vqav2"), "vqav2"))


def test_parquet_pictures_may_be_base64_text(made_rows: MakeRows, tmp_path: Path) -> None:
    """As in HuggingFaceM4/MMBench, which also spells a column's name differently."""
    import datasets

    rows = made_rows("mmbench", "dev-en")
    pictures = [row["image"]["bytes"] for row in rows]
    for row in rows:
        row["image"] = base64.b64encode(row["image"]["bytes"]).decode()
        row["l2-category"] = row.pop("L2-category")
        row["index"] = str(row["index"])
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "dev-en.parquet")
    samples = samples_in(tmp_path, "mmbench")
    assert [sample.images[1].encoded() for sample in samples] == pictures
    assert samples[0].breakdown["l2-category"] == ("finegrained_perception (instance-level)",)
    assert (samples[-1].id, samples[-1].rotation) == ("3000504", 3)


@pytest.fixture
def official_sheet(made_rows: MakeRows, tmp_path: Path) -> Callable[..., Path]:
    """A function: changed cells -> MMBench's tsv, a picture once a group, empty cells where none.

    It has the development and the test split, whose last digit of `index` is 9.
    """
    import pandas

    def write(name: str = "MMBench.tsv", **changed: Any) -> Path:
        rows = []
        for split in ("dev", "test"):
            for row in made_rows("mmbench", "dev-en"):
                group = row["index"] % 1_000_000
                if row["index"] == group:
                    row["image"] = base64.b64encode(row["image"]["bytes"]).decode()
                else:
                    row["image"] = str(group * 10 + 9 if split == "test" else group)
                row["l2-category"] = row.pop("L2-category")
                if split == "test":
                    rotation = row["index"] - group
                    row["index"] = rotation + group * 10 + 9
                rows.append(row | {"split": split} | changed)
        table = pandas.DataFrame(rows).replace("nan", None)
        table.to_csv(tmp_path / name, sep="\t", index=False)
        return tmp_path

    return write


def test_the_official_tsv_is_read_as_parquet_is(
    official_sheet: Callable[..., Path], hub_copy: Copy
) -> None:
    ours = samples_in(official_sheet(), "mmbench")
    assert_same(ours, samples_in(hub_copy("mmbench"), "mmbench"))


def test_a_tsv_with_two_splits_gives_the_one_that_is_asked_for(
    official_sheet: Callable[..., Path],
) -> None:
    """The file that has the answers of MMBench's test split has the development split too."""
    mmbench = loading.find("mmbench")
    rows = splits.load("mmbench", mmbench.split("test-en"), official_sheet())
    samples = [mmbench.read(row) for row in rows]
    assert {sample.id[-1] for sample in samples} == {"9"} and len(samples) == 13
    assert all(sample.answers for sample in samples)
    assert samples[3].images[1].encoded() == samples[0].images[1].encoded()


@pytest.mark.parametrize("text", ["None", "N/A", "NULL", "1.50", '5" x 7"', "a\nb"])
def test_a_cell_of_a_tsv_is_what_it_says(official_sheet: Callable[..., Path], text: str) -> None:
    """Readers of tables take the first three for empty cells, and the fourth for 1.5."""
    samples = samples_in(official_sheet(A=text), "mmbench")
    assert samples[0].options["A"] == text


def test_a_picture_that_refers_to_a_row_without_one_is_an_error(
    official_sheet: Callable[..., Path],
) -> None:
    folder = official_sheet(image="1000501")
    samples = samples_in(folder, "mmbench")
    with pytest.raises(ValueError, match=r"row 0: column 'image' is neither base64 nor a file in"):
        samples[0].images[1].encoded()


def test_a_split_that_a_tsv_does_not_have_is_an_error(
    official_sheet: Callable[..., Path],
) -> None:
    with pytest.raises(VlmbenchError, match=r"^no rows with split 'dev' in .*MMBench\.tsv$"):
        samples_in(official_sheet(split="other"), "mmbench")


VQA = {"image_id": 1, "question_id": 2, "question": "Which day?", "image": None}


def test_json_values_are_what_the_file_says(tmp_path: Path) -> None:
    """Readers that infer column types make dates of texts and stumble over late values."""
    rows: list[dict[str, Any]] = [VQA | {"answers": None} for _ in range(3000)]
    rows += [VQA | {"question_id": "a7", "answers": ["2014-02-03", "1998-11-30T10:00:00"]}]
    rows += [VQA | {"question_id": 7.0, "answers": [5, 0.5], "image": "aGk="}]
    write_lines(tmp_path / "validation.jsonl", rows)
    samples = samples_in(tmp_path, "textvqa")
    assert [s.answers for s in samples[-3:]] == [
        (),
        ("2014-02-03", "1998-11-30T10:00:00"),
        ("5", "0.5"),
    ]
    assert [s.id for s in samples[-3:]] == ["2", "a7", "7"]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    line = json.dumps(VQA | {"answers": ["a"], "image": "aGk="})
    (tmp_path / "validation.jsonl").write_bytes(f"\ufeff{line}\n\n  \n{line}\n".encode())
    assert len(samples_in(tmp_path, "textvqa")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"question_id": 1}\n{"question_id": \n', r"validation\.jsonl:2: not JSON: "),
        (b'{"question_id": 1}\n\n[1]\n', r"validation\.jsonl:3: no object with the hub's column"),
        (b'{"question": "\xff"}\n', r"cannot read .*validation\.jsonl: .*utf-8"),
        (
            b'{"image": {"bytes": "x"}}\n',
            r"jsonl:1: column 'image' is no text and no list of texts",
        ),
        (b"\n", r"^no rows in .*validation\.jsonl$"),
        (b'{"question_id": 1, "answer": []}', r"lacks the columns image_id, question, answers, i"),
    ],
)
def test_a_bad_text_file_is_one_clear_error(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "validation.jsonl").write_bytes(content)
    with pytest.raises(VlmbenchError, match=message) as caught:
        samples_in(tmp_path, "textvqa")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".tsv"])
def test_a_broken_file_is_named(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"validation{suffix}").write_bytes(b"\x00PAR1 no such file\xff\n" * 10)
    with pytest.raises(VlmbenchError, match=rf"cannot read .*validation\{suffix}: ") as caught:
        samples_in(tmp_path, "textvqa")
    assert "\n" not in str(caught.value)


def test_an_edit_anywhere_is_another_data_set(made_rows: MakeRows, tmp_path: Path) -> None:
    """Rows and fingerprint follow it, though name, size and time of change are the same."""
    import os

    rows = as_text(made_rows("textvqa", "validation"), tmp_path)
    rows[0]["set_name"] = rows[11]["set_name"] = "x" * 100_000
    path = write_lines(tmp_path / "one" / "validation.jsonl", rows)
    textvqa = loading.find("textvqa")
    before = splits.load("textvqa", textvqa.splits[0], path.parent)
    stamp = path.stat().st_mtime_ns
    rows[6]["question"] = rows[6]["question"].swapcase()
    write_lines(path, rows)
    os.utime(path, ns=(stamp, stamp))
    after = splits.load("textvqa", textvqa.splits[0], path.parent)
    assert before.fingerprint != after.fingerprint
    assert after[6].text("question") == rows[6]["question"] != before[6].text("question")
    copy = write_lines(tmp_path / "two" / "validation.jsonl", rows)
    assert splits.load("textvqa", textvqa.splits[0], copy.parent).fingerprint == after.fingerprint

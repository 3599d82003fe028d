"""The six benchmarks' rows, with exactly the hub's columns, become the right samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from vlmbench.data.rows import Row
from vlmbench.data.splits import Hub
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Sample
from vlmbench.task import loading

MakeRows = Callable[[str, str], list[dict[str, Any]]]

SPLITS: dict[str, dict[str, int | None]] = {
    "vqav2": {
        **{"validation": 214_354, "test-dev": 107_394, "test-std": 447_793},
        **{"mini": 676, "easy-vqa": 9_673},
    },
    "textvqa": {"validation": 5_000, "test": 5_734, "mini": 500},
    "docvqa": {"validation": 5_349, "test": 5_188, "mini": 462},
    "mmmu": {"validation": 900, "dev": 150, "test": 10_500, "mini": 300},
    "mathvista": {"testmini": 1_000, "test": 5_141, "mini": 416},
    "mmbench": {
        **{"dev-en": 4_329, "test-en": 6_666, "dev-cn": 4_329},
        **{"dev-en-v1.1": None, "test-en-v1.1": None, "dev-en-20230712": 4_377},
        "mini": 684,
    },
}
"""Rows as the data set cards state them; version 1.1 of MMBench has none."""

HIDDEN = [
    *(("vqav2", "test-dev"), ("vqav2", "test-std"), ("textvqa", "test"), ("docvqa", "test")),
    *(("mmmu", "test"), ("mathvista", "test"), ("mmbench", "test-en")),
]


def test_there_are_these_tasks_and_splits_and_no_others() -> None:
    found = {one.name: {split.name: split.size for split in one.splits} for one in loading.every()}
    assert found == SPLITS


def test_a_revision_is_a_commit_unless_none_is_known() -> None:
    moving = set()
    for found in loading.every():
        for split in (*found.splits, *([found.train] if found.train else [])):
            for source in split.sources:
                if isinstance(source, Hub) and len(source.revision) != 40:
                    moving.add((source.id, source.revision))
                elif isinstance(source, Hub):
                    int(source.revision, 16)
    assert moving == {
        ("MMMU/MMMU", "main"),
        ("lmms-lab-encoder/textvqa", "main"),
        ("lmms-lab/textvqa", "main"),
        ("pminervini/VQAv2", "main"),
    }


def test_sets_that_moved_are_sought_at_their_new_id_first() -> None:
    for found in loading.every():
        for split in found.splits:
            homes = [source.name.split("/")[0] for source in split.sources]
            assert "lmms-lab-encoder" not in homes[1:]
            if "lmms-lab-encoder" in homes:
                assert homes[1] == "lmms-lab"


@pytest.mark.parametrize("name", SPLITS)
def test_a_sample_has_an_id_a_question_and_a_picture(
    name: str, samples: Callable[[str], list[Sample]]
) -> None:
    found = samples(name)
    assert len({sample.id for sample in found}) == len(found) >= 12
    for sample in found:
        assert sample.question and sample.image_group and sample.answers
        assert all(picture.decode().width >= 48 for picture in sample.images.values())
        assert sample.interleaved == (name == "mmmu")
        assert name == "mmmu" or list(sample.images) == [1]


@pytest.mark.parametrize(("name", "split"), HIDDEN)
def test_a_placeholder_is_no_answer(
    name: str, split: str, samples: Callable[[str], list[Sample]]
) -> None:
    assert [sample.answers for sample in samples(f"{name}@{split}")] == [()] * len(samples(name))


@pytest.mark.parametrize(
    ("name", "column", "placeholders"),
    [
        ("vqav2", "answers", [None, []]),
        ("textvqa", "answers", [None, [], [""] * 10]),
        ("docvqa", "answers", [None, []]),
        ("mmmu", "answer", [None, "", "?"]),
        ("mathvista", "answer", [None, "", "nan", float("nan")]),
        ("mmbench", "answer", [None, "", "nan", "?", float("nan"), "N/A"]),
    ],
)
def test_other_copies_hide_answers_in_other_ways(
    name: str, column: str, placeholders: list[Any], read: Callable[..., Sample]
) -> None:
    for placeholder in placeholders:
        assert read(name, **{column: placeholder}).answers == ()


@pytest.mark.parametrize("name", ["vqav2", "textvqa", "docvqa"])
def test_answers_must_be_there_where_a_row_comes_with_a_prediction(name: str) -> None:
    with pytest.raises(VlmbenchError, match="line 1: no column 'answers'"):
        loading.find(name).read(Row({"question": "?"}, where="line 1", key="1"))


def test_questions_about_one_picture_share_a_group(
    samples: Callable[[str], list[Sample]],
) -> None:
    for name in ("vqav2", "textvqa", "docvqa", "mmbench"):
        content: dict[str, set[bytes]] = {}
        for sample in samples(name):
            content.setdefault(sample.image_group, set()).add(sample.images[1].encoded())
        assert all(len(pictures) == 1 for pictures in content.values())
        assert max(Counter(sample.image_group for sample in samples(name)).values()) > 1
    docvqa = [sample.image_group for sample in samples("docvqa")]
    assert docvqa[:4] == ["7/1", "7/1", "8/1", "8/1"]


def test_vqav2_takes_nested_and_flat_answers(read: Callable[..., Sample]) -> None:
    nested = read("vqav2")
    assert nested.answers == ("red",) * 7 + ("dark red",) * 2 + ("maroon",)
    assert read("vqav2", answers=list(nested.answers)).answers == nested.answers
    assert nested.breakdown == {
        "answer_type": ("other",),
        "question_type": ("what color is the",),
    }


@pytest.mark.parametrize(
    ("name", "column", "id"),
    [
        ("docvqa", "questionId", 49153),
        ("mmbench", "index", "241"),
        ("mmbench", "index", 241.0),
        ("textvqa", "question_id", "34602"),
        ("mathvista", "pid", 7),
    ],
)
def test_ids_of_other_types_are_the_same_ids(
    name: str, column: str, id: Any, read: Callable[..., Sample]
) -> None:
    assert read(name, **{column: id}).id == str(int(id))


def test_an_mmbench_index_is_a_number(read: Callable[..., Sample]) -> None:
    with pytest.raises(VlmbenchError, match="row 0: column 'index' is 'dev_1', expected a whole"):
        read("mmbench", index="dev_1")


def test_mmbench_rotations_form_groups(samples: Callable[[str], list[Sample]]) -> None:
    groups: dict[str, list[Sample]] = {}
    for sample in samples("mmbench"):
        groups.setdefault(sample.circular_group, []).append(sample)
    assert sorted(len(rows) for rows in groups.values()) == [2, 3, 4, 4]
    for rows in groups.values():
        assert [sample.rotation for sample in rows] == list(range(len(rows)))
        assert {frozenset(sample.options.values()) for sample in rows} == {
            frozenset(rows[0].options.values())
        }
        assert {sample.options[sample.answers[0]] for sample in rows} == {
            rows[0].options[rows[0].answers[0]]
        }


@pytest.mark.parametrize("absent", ["nan", None, "", float("nan")])
def test_mmbench_options_and_hints_that_are_absent_do_not_exist(
    absent: Any, read: Callable[..., Sample]
) -> None:
    sample = read("mmbench", C=absent, D=absent, hint=absent)
    assert (list(sample.options), sample.hint) == (["A", "B"], "")


def test_mmbench_spells_a_column_in_two_ways(read: Callable[..., Sample]) -> None:
    spelt = {"L2-category": "coarse", "l2-category": None}
    assert read("mmbench", **spelt).breakdown["l2-category"] == ("coarse",)
    spelt = {"L2-category": None, "l2-category": "coarse"}
    assert read("mmbench", **spelt).breakdown["l2-category"] == ("coarse",)


def test_mathvista_keeps_what_extraction_and_comparison_need(
    samples: Callable[[str], list[Sample]],
) -> None:
    found = {sample.id: sample for sample in samples("mathvista")}
    kinds = {sample.breakdown["answer_type"][0] for sample in found.values()}
    assert kinds == {"integer", "float", "text", "list"}
    assert found["9008"].facts == {"precision": 2.0, "unit": "cm^2"}
    assert found["9001"].facts == {"precision": None, "unit": ""}
    assert found["9002"].options == {"A": "North", "B": "South", "C": "East", "D": "West"}
    assert found["9003"].breakdown["skills"] == ("algebraic reasoning", "geometry reasoning")
    assert found["9009"].breakdown["language"] == ("chinese",)
    assert found["9001"].image_group == "images/9001.jpg"


def test_textvqa_gives_the_words_that_were_read_in_the_picture(read: Callable[..., Sample]) -> None:
    assert read("textvqa").ocr_tokens == ("BAKERY", "OPEN")


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("wrong", [["x"], {"a": 1}, True])
def test_a_wrong_type_in_any_column_names_row_and_column(
    name: str, wrong: Any, made_rows: MakeRows
) -> None:
    found = loading.find(name)
    values = made_rows(name, next(iter(SPLITS[name])))[0]
    for column in found.splits[0].columns:
        if wrong == ["x"] and column in ("answers", "choices", "options", "answer"):
            continue
        if wrong == {"a": 1} and column == "metadata":
            continue
        with pytest.raises(VlmbenchError, match=f"^row 5: column '{column}' is "):
            found.read(Row(values | {column: wrong}, where="row 5"))

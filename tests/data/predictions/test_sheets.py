from __future__ import annotations

import csv
import datetime
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from vlmbench.data.predictions import Line, read
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Prediction
from vlmbench.task.loading import conventions_of

Write = Callable[[str | bytes], Path]
Rows = Sequence[dict[str, Any]]


def xlsx(rows: Rows) -> bytes:
    """A sheet as VLMEvalKit's writer leaves it: every text a text cell, "=1+1" too."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for number, row in enumerate([dict(zip(rows[0], rows[0], strict=True)), *rows], 1):
        for column, value in enumerate(row.values(), 1):
            cell = sheet.cell(number, column, value)
            if isinstance(value, str):
                cell.data_type = "s"
    return saved(book)


def saved(book: openpyxl.Workbook) -> bytes:
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def tsv(rows: Rows) -> bytes:
    """As VLMEvalKit writes it with PRED_FORMAT=tsv: all cells quoted."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([rows[0].keys(), *(row.values() for row in rows)])
    return file.getvalue().encode()


def as_json(rows: Rows) -> bytes:
    """As VLMEvalKit writes it with PRED_FORMAT=json: NaN for an empty cell."""
    records = [{k: float("nan") if v is None else v for k, v in row.items()} for row in rows]
    return json.dumps(records, indent=4, ensure_ascii=False).encode()


WRITERS = {"xlsx": xlsx, "tsv": tsv, "json": as_json}
each_writer = pytest.mark.parametrize("form", WRITERS)


def one(path: Path, task: str) -> Line:
    (line,) = read(path, conventions_of(task)).lines
    return line


MMBENCH = {
    "index": 1000241,
    "question": "Which one?",
    "hint": None,
    **{"A": "a cat", "B": "None", "C": None, "D": None},
    "answer": "B",
    "category": "identity_reasoning",
    "l2-category": "attribute_reasoning",
    "split": "dev",
    "prediction": "(B)",
}


@each_writer
def test_a_result_file_of_mmbench_carries_its_rows(write: Write, form: str) -> None:
    path = write(WRITERS[form]([MMBENCH]))
    predictions = read(path, conventions_of("mmbench"))
    assert predictions.format == f"VLMEvalKit {form}"
    (line,) = predictions.lines
    index = "1000241" if form == "tsv" else 1000241
    assert line.prediction == Prediction(id=index, response="(B)")
    assert line.row == MMBENCH | {"index": index}
    assert line.where == (f"{path}: entry 1" if form == "json" else f"{path}:2")


def test_an_upload_file_of_mmbench_is_read(write: Write) -> None:
    names = ("index", "question", "A", "B", "C", "D", "prediction", "answer", "split")
    predictions = read(
        write(xlsx([{name: MMBENCH[name] for name in names}])), conventions_of("mmbench")
    )
    assert predictions.format == "mmbench submission xlsx"
    (line,) = predictions.lines
    assert (line.prediction.id, line.prediction.response) == (1000241, "(B)")
    assert line.row is not None and (line.row["B"], line.row["C"]) == ("None", None)
    test = {name: MMBENCH[name] for name in names if name != "answer"}
    assert one(write(xlsx([test])), "mmbench").row is None  # no answer: nothing to score with


AWKWARD = ["None", "NA", "N/A", "nan", "NaN", "=1+1", "1", "1.0", "007", "TRUE", "1e5", "#N/A"]
AWKWARD += ["2024-01-01", " a ", "a\tb", 'say "hi"', "l1\nl2", "@x", "'x", "é𝄞中", "x" * 40_000]


@each_writer
def test_any_text_in_a_cell_is_that_text(write: Write, form: str) -> None:
    texts = [text for text in AWKWARD if form != "xlsx" or len(text) < 32_768]  # a cell's limit
    rows = [{"index": i, "question": "?", "prediction": text} for i, text in enumerate(texts)]
    lines = read(write(WRITERS[form](rows)), conventions_of("textvqa")).lines
    assert [line.prediction.response for line in lines] == texts


def test_a_long_cell_leaves_the_readers_limit_as_it_was(write: Write) -> None:
    limit = csv.field_size_limit()
    line = one(write(tsv([{"index": 1, "prediction": "x" * 200_000}])), "textvqa")
    assert len(line.prediction.response or "") == 200_000
    assert csv.field_size_limit() == limit


def test_text_that_a_writer_took_for_a_formula_or_escaped_is_restored(write: Write) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["index", "prediction"])
    sheet.append([1, "=SUM(A1)"])  # openpyxl writes this as a formula
    sheet.append([2, "a_x000D_\nb_x0007_"])  # XlsxWriter's form of control characters
    lines = read(write(saved(book)), conventions_of("textvqa")).lines
    assert [line.prediction.response for line in lines] == ["=SUM(A1)", "a\r\nb\x07"]


def test_a_sheet_with_a_wrong_range_and_unknown_extensions_is_read_whole(write: Write) -> None:
    extension = b'<extLst><ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}"/></extLst></worksheet>'
    file = io.BytesIO()
    whole = xlsx([{"index": i, "prediction": "x"} for i in range(3)])
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            part = old.read(name).replace(b'ref="A1:B4"', b'ref="A1:A2"')
            new.writestr(name, part.replace(b"</worksheet>", extension))
    lines = list(read(write(file.getvalue()), conventions_of("textvqa")).lines)
    assert [line.prediction.response for line in lines] == ["x", "x", "x"]


def test_numbers_and_truth_values_in_cells_become_text(write: Write) -> None:
    rows = [{"index": i, "prediction": value} for i, value in enumerate([3, 2.5, True])]
    lines = read(write(xlsx(rows)), conventions_of("textvqa")).lines
    assert [line.prediction.response for line in lines] == ["3", "2.5", "True"]


@each_writer
def test_an_empty_cell_is_a_model_that_said_nothing(write: Write, form: str) -> None:
    line = one(write(WRITERS[form]([{"index": 1, "question": "?", "prediction": None}])), "docvqa")
    assert line.prediction == Prediction(id="1" if form == "tsv" else 1, response="")


def test_a_response_that_vlmevalkit_failed_to_get_is_a_failed_sample(write: Write) -> None:
    message = "Failed to obtain answer: <class 'RuntimeError'> CUDA out of memory"
    line = one(write(xlsx([MMBENCH | {"prediction": message}])), "mmbench")
    assert line.prediction == Prediction(id=1000241, response=None, error=message)


@each_writer
@pytest.mark.parametrize(
    ("task", "key", "answer", "answers"),
    [
        ("textvqa", "question_id", "['a', \"it's\", '\\\\frac']", ["a", "it's", "\\frac"]),
        ("textvqa", "question_id", "[1, 2]", ["1", "2"]),
        ("docvqa", "questionId", "['0.28']", ["0.28"]),
        ("docvqa", "questionId", "itc [limited", ["itc [limited"]),
        ("docvqa", "questionId", "[limited", ["[limited"]),
    ],
)
def test_gold_answers_are_a_list_in_a_cell(
    write: Write, form: str, task: str, key: str, answer: str, answers: list[str]
) -> None:
    cells = {"index": 34602, "question": "Which?", "answer": answer, "prediction": "x"}
    line = one(write(WRITERS[form]([cells])), task)
    id = "34602" if form == "tsv" else 34602
    assert line.prediction.id == id
    assert line.row == {key: id, "question": "Which?", "answers": answers}


def test_a_sheet_without_gold_answers_has_no_rows(write: Write) -> None:
    cells = {"index": 57344, "question": "Which?", "prediction": "x"}
    assert one(write(xlsx([cells])), "docvqa").row is None
    assert one(write(xlsx([cells | {"answer": None}])), "docvqa").row is None


def test_the_data_sets_own_id_goes_before_the_running_index(write: Write) -> None:
    line = one(write(xlsx([{"index": 0, "question_id": 34602, "prediction": "x"}])), "textvqa")
    assert line.prediction.id == 34602


MMMU = {
    "index": 1,
    "id": "validation_Art_1",
    "question": "Which? <image 1>",
    **{"A": "7", "B": "$5", "C": None},
    "answer": "B",
    "category": "Art",
    "l2-category": "Art & Design",
    "split": "validation",
    "prediction": "B. $5",
}


@each_writer
def test_a_result_file_of_mmmu_carries_options_and_question_type(write: Write, form: str) -> None:
    line = one(write(WRITERS[form]([MMMU])), "mmmu")
    assert line.prediction == Prediction(id="validation_Art_1", response="B. $5")
    assert line.row is not None
    want = {"options": ["7", "$5"], "question_type": "multiple-choice", "answer": "B"}
    assert line.row.items() >= want.items()


def test_open_questions_of_mmmu_are_known_even_where_the_scorer_rewrote_them(write: Write) -> None:
    asked = MMMU | {"A": None, "B": None, "answer": "['24/7', '3.429']"}
    scored = asked | {"A": asked["answer"], "B": "Other Answers"}
    for line in read(write(xlsx([asked, scored])), conventions_of("mmmu")).lines:
        assert line.row is not None
        want = {"options": [], "question_type": "open", "answer": "['24/7', '3.429']"}
        assert line.row.items() >= want.items()


MATHVISTA = {
    "index": 17,
    "question": "Hint: ...\nQuestion: How much?",
    "answer": "1.45",
    "question_type": "free_form",
    "answer_type": "float",
    "choices": None,
    "answer_option": None,
    "task": "math word problem",
    "skills": "['arithmetic reasoning']",
    "prediction": "It is 1.449",
}


@each_writer
def test_a_result_file_of_mathvista_carries_its_problems(write: Write, form: str) -> None:
    line = one(write(WRITERS[form]([MATHVISTA])), "mathvista")
    id = "17" if form == "tsv" else 17
    assert line.prediction == Prediction(id=id, response="It is 1.449")
    assert line.row is not None
    metadata = {"task": "math word problem", "skills": ["arithmetic reasoning"]}
    want = {"pid": id, "answer": "1.45", "choices": None, "precision": 2, "metadata": metadata}
    assert line.row.items() >= want.items()
    choice = MATHVISTA | {"answer": "7", "answer_type": "text", "choices": "['7', '8']"}
    choice_line = one(write(WRITERS[form]([choice | {"precision": None}])), "mathvista")
    assert choice_line.row is not None
    assert choice_line.row.items() >= {"choices": ["7", "8"], "precision": None}.items()


@each_writer
def test_the_judges_extraction_is_final(write: Write, form: str) -> None:
    rows = [MATHVISTA | {"res": res, "log": "Succeed"} for res in ("1.449", None)]
    first, second = read(write(WRITERS[form](rows)), conventions_of("mathvista")).lines
    assert (first.prediction.final, first.prediction.is_final) == ("1.449", True)
    assert (second.prediction.final, second.prediction.is_final) == ("", True)


def damaged(cut: slice) -> bytes:
    data = bytearray(xlsx([MMBENCH]))
    del data[cut]
    return bytes(data)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("answers.jsonl", "{}")
    return file.getvalue()


INDEX = {"index": 1, "prediction": "x"}
BAD = [
    ("mmbench", damaged(slice(2000, None)), ": a damaged xlsx file (BadZipFile: File is not a zip"),
    ("mmbench", damaged(slice(100, 300)), ": a damaged xlsx file (OSError: [Errno 22]"),
    ("mmbench", zipped(), ": a zip archive; unpack it and name the file inside"),
    ("mmbench", xlsx([{"index": 1, "predicton": "x"}]), ": no 'prediction'; is 'predicton' meant"),
    ("mmbench", xlsx([{"index": 1, "A": "x"}]), ": no 'prediction'; there are: 'index', 'A'"),
    ("mmbench", xlsx([{"id": 1, "prediction": "x"}]), ": no 'index'; there are: 'id', 'predicti"),
    ("mmmu", xlsx([INDEX]), ": no 'id'; there are: 'index', 'prediction'"),
    ("mmbench", saved(openpyxl.Workbook()), ": no 'prediction'; there are: none"),
    ("mmbench", tsv([INDEX])[:21], " holds no predictions"),
    ("textvqa", xlsx([INDEX, INDEX | {"index": None}]), ":3: 'index' is null, expected text or"),
    ("textvqa", xlsx([INDEX | {"index": True}]), ":2: 'index' is true, expected text or a number"),
    ("textvqa", xlsx([INDEX | {"prediction": datetime.date(2024, 1, 2)}]), ":2: a cell holds a d"),
    ("textvqa", b'"index"\t"index"\n', ": two columns named 'index'"),
    ("textvqa", tsv([INDEX]) + b'"1"\t"2"\t"3"\n', ":3: 3 cells, but the header has 2"),
    ("textvqa", tsv([INDEX]) + b'"2"\t"torn', ":3: not tab-separated values: unexpected end of d"),
    ("textvqa", tsv([INDEX]) + b'"2"\t"\xff"\n', ":3: not UTF-8: byte 6 of the line is 0xff; sav"),
    ("mathvista", xlsx([MATHVISTA | {"precision": "two"}]), ":2: 'precision' is text, expected a"),
    ("textvqa", b'[{"index": 1, "prediction": "x"}, {"index": 2}]', ": entry 2: no 'prediction';"),
    ("textvqa", b'[{"index": 1, "prediction": ["x"]}]', ": entry 1: 'prediction' is a list, expec"),
]


@pytest.mark.parametrize(("task", "content", "message"), BAD, ids=[m for _, _, m in BAD])
def test_a_bad_sheet_is_named(write: Write, task: str, content: bytes, message: str) -> None:
    path = write(content)
    with pytest.raises(VlmbenchError) as caught:
        list(read(path, conventions_of(task)).lines)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)

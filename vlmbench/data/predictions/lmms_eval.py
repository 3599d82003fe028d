"""lmms-eval's `*_samples_TASK.jsonl`, written with `--log_samples`; checked for 0.2.4 to 0.7.3."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from vlmbench.data.predictions import columns
from vlmbench.data.predictions.line import Line, identity, missing, wrong
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

ID_KEYS = {
    "vqav2": ("question_id",),
    "textvqa": ("question_id",),
    "docvqa": ("questionId",),
    "mmmu": ("id",),
    "mathvista": ("pid", "question_id"),
    "mmbench": ("index",),
}
CHANGED_DOC = ("vqav2", "textvqa")
"""Their scorers normalise `doc["answers"]` in place before the sample is logged."""


def is_sample(record: Mapping[str, Json]) -> bool:
    return "doc_id" in record and "filtered_resps" in record


def has_id(record: Mapping[str, Json], task: str) -> bool:
    """False: the line names its sample by the row's number in the split, `doc_id`, only."""
    return next(_logged(record, task), None) is not None


def line(record: Mapping[str, Json], where: str, task: str, *, by_row_number: bool) -> Line:
    """A line of the log; the response is the text that lmms-eval scored.

    Raises: VlmbenchError also where the line has no id though the file's first line had one.
    """
    logged, id_key = next(_logged(record, task), (record, "doc_id"))
    if by_row_number:
        logged, id_key = record, "doc_id"
    elif logged is record:
        raise VlmbenchError(f"{where}: no id of {task}, though earlier lines have one")
    key = identity(logged, id_key, where)
    if by_row_number and not isinstance(key, int):
        raise wrong(id_key, key, "a row's number", where)
    extraction = _extraction(record) if task == "mathvista" else ""
    prediction = Prediction(
        id=key,
        response=_response(record, where),
        final=extraction,
        is_final=bool(extraction),
    )
    prompt = record.get("input")
    return Line(
        prediction=prediction,
        row=_row(record, logged, task),
        where=where,
        prompt=prompt if isinstance(prompt, str) else "",
    )


def _logged(record: Mapping[str, Json], task: str) -> Iterator[tuple[Mapping[str, Json], str]]:
    """What the task logged about the sample with the key of its id: `doc`, or a metric's record."""
    keys = ID_KEYS.get(task, columns.IDS)
    for value in record.values():
        if isinstance(value, Mapping):
            for key in keys:
                if key in value:
                    yield value, key


def _response(record: Mapping[str, Json], where: str) -> str:
    """A bare text since 0.7, a list of one before."""
    if "filtered_resps" not in record:
        raise missing("filtered_resps", record, where)
    value = record["filtered_resps"]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return value
    raise wrong("filtered_resps", value, "one response a sample (no repeats), as text", where)


def _extraction(record: Mapping[str, Json]) -> str:
    """The answer that lmms-eval's judge extracted, which was scored in place of the response.

    Empty also where the judge could not be reached: then the response itself is to be read.
    """
    metrics = (value for value in record.values() if isinstance(value, Mapping))
    extraction = next((m["extraction"] for m in metrics if "extraction" in m), "")
    return extraction if isinstance(extraction, str) else ""


def _row(
    record: Mapping[str, Json], logged: Mapping[str, Json], task: str
) -> Mapping[str, Json] | None:
    """The sample under the hub's column names, where the log has what its scorer needs."""
    doc = record.get("doc")
    if isinstance(doc, Mapping):
        return None if task in CHANGED_DOC else doc
    if task == "mmbench" and "answer" in logged:
        return logged
    if task == "mathvista" and "answer_type" in logged:
        # lmms-eval moves the fields of `metadata` into the record itself when it sums up.
        flat = {name: logged[name] for name in columns.MATHVISTA_METADATA if name in logged}
        metadata = logged.get("metadata", flat)
        question = logged.get("query", "")  # it holds the question, which is not logged
        return {**logged, "pid": logged["question_id"], "metadata": metadata, "question": question}
    if task == "docvqa":
        answers = _texts(record.get("target"))
        return {"question": record.get("input"), "answers": answers} if answers else None
    return None


def _texts(target: Json) -> list[Json] | None:
    """The list of texts that lmms-eval stored with `str`."""
    try:
        value = ast.literal_eval(target) if isinstance(target, str) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if is_list else None

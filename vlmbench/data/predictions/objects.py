"""Objects with a model's answer as other tools' scripts write them.

LLaVA's (`question_id`, `prompt`, `text`), InternVL's and Qwen-VL's (`question_id`, `questionId` or
`data_id`, `answer`, beside it `annotation` or `gt_answers`), MMMU's own (`id`, `response`, and the
question with its `answer`), chat completion batches (`custom_id`, `response`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vlmbench.data.predictions import gold, vlmevalkit
from vlmbench.data.predictions.conventions import Conventions
from vlmbench.data.predictions.line import Line, identity, wrong
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

IDS = ("id", "data_id", "question_id", "questionId", "sample_id")
"""Keys of an id besides the task's own, in order."""

RESPONSES = (
    *("response", "prediction", "pred_answer", "pred", "model_answer", "model_response"),
    *("model_output", "generated_text", "generation", "output"),
)
"""Keys of a model's answer, in order; after them `text`, as LLaVA writes it, and `answer`."""

OF_AN_ANSWER = ("answer_id", "model_id", "prompt")
"""Where none of these stands beside it, `text` may be the question, as in LLaVA's own input."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a file's objects have what is needed, as its first one tells."""

    name: str
    id: str
    response: str
    has_gold: bool

    ids_name_pictures: bool = False
    """True where questions about one picture share an id, and the prompt tells them apart."""


def shape_of(record: Mapping[str, Json], conventions: Conventions) -> Shape | None:
    """The shape of a file that begins with this object; None: it is no answer that is known."""
    id = next((key for key in ("custom_id", *conventions.ids, *IDS) if key in record), None)
    response = response_key(record)
    if id is None or response is None:
        return None
    has_gold = gold.beside(record, response) is not None
    if response == "result":
        return Shape("Qwen-VL results", id, response, True)
    if response == "text":
        return Shape("LLaVA answers", id, response, has_gold, conventions.llava_ids_are_pictures)
    if id == "custom_id":
        return Shape("chat completion batch", id, response, has_gold)
    return Shape("answers of objects", id, response, has_gold)


def response_key(record: Mapping[str, Json]) -> str | None:
    """The key of an object's answer; None: it has none that is known."""
    found = next((key for key in RESPONSES if key in record), None)
    if found:
        return found
    result = record.get("result")
    if isinstance(result, Mapping) and "gen" in result:
        return "result"
    if "text" in record and any(key in record for key in OF_AN_ANSWER):
        return "text"
    return "answer" if "answer" in record else None


def lines(
    shape: Shape, records: Iterable[tuple[str, Mapping[str, Json]]], conventions: Conventions
) -> Iterator[Line]:
    """The objects as lines. Raises: VlmbenchError for one that is not of the shape."""
    for where, record in records:
        if shape.response == "result":
            yield _of_qwen(record, where, conventions)
        else:
            yield _line(shape, record, where, conventions)


def _line(shape: Shape, record: Mapping[str, Json], where: str, conventions: Conventions) -> Line:
    key = identity(record, shape.id, where)
    if record.get("round_id"):
        raise VlmbenchError(
            f"{where}: options that LLaVA's --all-rounds rotated (round_id "
            f"{record['round_id']}); keep the lines with round_id 0"
        )
    response, error = _response(record, shape.response, where)
    prompt = next((v for k in ("prompt", "question") if isinstance(v := record.get(k), str)), "")
    found = gold.beside(record, shape.response)
    return Line(
        prediction=Prediction(id=key, response=response, error=error),
        row=None if found is None else gold.row(found, record, key, prompt, conventions),
        where=where,
        prompt=prompt,
    )


def _response(record: Mapping[str, Json], key: str, where: str) -> tuple[str | None, str]:
    """The answer, or None and the reason for which there is none."""
    value = record.get(key)
    if isinstance(value, Mapping) and key == "response":
        value = _completion(value)
    elif isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return value, ""
    if value is not None or key not in record:
        raise wrong(key, value, "text, or null where the model failed", where)
    error = record.get("error")
    return None, error if isinstance(error, str) else ""


def _completion(response: Mapping[str, Json]) -> Json:
    """The text of a batch's answer; None: the server gave none."""
    body = response.get("body")
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices:
        return None
    message = choices[0].get("message") if isinstance(choices[0], Mapping) else None
    return message.get("content") if isinstance(message, Mapping) else None


def _of_qwen(record: Mapping[str, Json], where: str, conventions: Conventions) -> Line:
    """A line of its evaluation scripts: VLMEvalKit's row as `annotation`, the answer apart."""
    annotation, result = record.get("annotation"), record.get("result")
    if not isinstance(annotation, Mapping) or not isinstance(result, Mapping):
        raise VlmbenchError(f"{where}: expected 'annotation' and 'result' as objects")
    cells = {**annotation, "prediction": result.get("gen")}
    [line] = vlmevalkit.lines(where, conventions, cells, [(where, cells)])
    return line

"""Each sample of a run as a line of Every Eval Ever's samples file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import UNSET

from vlmbench.data import splits
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder import single_stream
from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.runs.folder.responses import ResponseRecord
from vlmbench.runs.folder.scores import ScoreRecord
from vlmbench.runs.folder.single_stream import SingleStreamRecord
from vlmbench.schema import Profile, Sample
from vlmbench.task.loading import parse_spec


def samples_of(
    task: FinishedTask, data_dir: Path | None, tasks_dir: Path | None
) -> Mapping[str, Sample]:
    """The samples that were scored, by id, read from the data set.

    Raises: VlmbenchError where that is not at hand, or lacks a sample.
    """
    found, split, _ = parse_spec(task.name, tasks_dir)
    rows = splits.load(found.name, split, data_dir, needs_pictures=False)
    ids = {str(one.id) for one in task.scores()}
    known = {one.id: one for row in rows if (one := found.read(row)).id in ids}
    if lost := sorted(ids - known.keys()):
        raise VlmbenchError(
            f"the data of {task.name} has no sample {lost[0]!r}: it is not the data that was run; "
            "give the right one by --data-dir"
        )
    return known


def records(
    task: FinishedTask, samples: Mapping[str, Sample], profile: Profile
) -> Iterator[dict[str, Any]]:
    """The lines of the samples' file, less what is the same in each."""
    alone = single_stream.of_last_place(single_stream.read(task.folder)).get(task.name, {})
    for score, response in zip(task.scores(), task.responses(), strict=True):
        id = str(score.id)
        yield _record(samples[id], score, response, alone.get(id), profile)


def _record(
    sample: Sample,
    score: ScoreRecord,
    response: ResponseRecord,
    alone: SingleStreamRecord | None,
    profile: Profile,
) -> dict[str, Any]:
    value = score.own_values.get(profile)
    metadata = {name: ", ".join(keys) for name, keys in score.breakdown.items()}
    metadata |= {"cluster": score.cluster, "images": ", ".join(response.images)}
    if score.is_circular:
        circular = score.profiles.get(profile)
        metadata["circular_score"] = "none" if circular is None else f"{circular:g}"
    content = {"raw": sample.question, "reference": list(sample.answers)}
    return {
        "sample_id": sample.id,
        "sample_hash": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        "interaction_type": "single_turn",
        "input": content | {"choices": list(sample.options.values()) or None},
        "output": {"raw": [] if response.response is None else [response.response]}
        | ({} if response.reasoning is UNSET else {"reasoning_trace": [response.reasoning]}),
        "answer_attribution": _attribution(score),
        "evaluation": {"score": value or 0.0, "is_correct": value == 1, "num_turns": 1},
        "token_usage": _tokens(response),
        "performance": _performance(response, alone),
        "error": None if score.error is UNSET else score.error,
        "metadata": metadata,
    }


def _attribution(score: ScoreRecord) -> list[dict[str, Any]]:
    if score.parsed is UNSET or score.parsed is None:
        return []
    is_text = isinstance(score.parsed, str)
    return [
        {
            "turn_idx": 0,
            "source": "output.raw",
            "extracted_value": score.parsed if is_text else json.dumps(score.parsed),
            "extraction_method": "rules" if score.how is UNSET else score.how,
            "is_terminal": True,
        }
    ]


def _tokens(response: ResponseRecord) -> dict[str, Any] | None:
    read, made = response.prompt_tokens, response.generated_tokens
    if read is None or made is None:
        return None
    thought = None if response.reasoning_tokens is UNSET else response.reasoning_tokens
    return {
        "input_tokens": read,
        "output_tokens": made,
        "total_tokens": read + made,
        "reasoning_tokens": thought,
    }


def _performance(
    response: ResponseRecord, alone: SingleStreamRecord | None
) -> dict[str, Any] | None:
    """Latency is that of a request that was asked alone; a time among others is a detail."""
    if alone is not None and alone.counts:
        first = alone.timings.get("first_token_s")
        return {
            "latency_ms": 1000 * alone.latency_s,
            "time_to_first_token_ms": None if first is None else 1000 * first,
            "additional_details": {"scenario": "single stream"},
        }
    total = response.timings.get("total_s")
    if total is None:
        return None
    details = {"scenario": "offline, among other requests", "total_ms": f"{1000 * total:.3f}"}
    return {"additional_details": details}

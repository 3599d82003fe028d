"""lmms-eval's tasks in our runner: `vlmbench run --tasks lmms:NAME`.

Documents, prompts, generation settings, filters, scorers and sums are lmms-eval's own functions;
the plan, the log, resumption and the model are ours. What a task wants to draw at a temperature is
drawn as the run's settings say.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import importlib.metadata
import inspect
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlmbench.data.rows import Row, Rows
from vlmbench.data.splits import Split
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.lmms.conversation import Decoding, Pictures, messages_of, visuals_of
from vlmbench.lmms.judges import judge_of
from vlmbench.schema import Message, Prediction, Profile, Request, Sample, Verdict
from vlmbench.task.binding import PromptSettings
from vlmbench.task.task import Task

REASONING_TAGS = [["<think>", "</think>"], ["<analysis>", "</analysis>"]]
"""Cut out of answers with what they hold: the default of lmms-eval's command line."""

SUBMISSION = "submission"
"""In the name of a metric whose sum is a file for a server."""


class LmmsTask:
    """One of lmms-eval's tasks, bound to its documents: a `BoundTask`."""

    def __init__(self, name: str, prompt: PromptSettings, *, include: Path | None) -> None:
        """`include`: a folder of yaml tasks besides those that lmms-eval has.

        Raises: VlmbenchError for a task that is not there or does not load, that a language model
        scores, or whose answers are drawn or scored in a way that we do not have.
        """
        if prompt.shots or prompt.ocr:
            raise VlmbenchError(f"lmms:{name} words its own prompts: leave --shots and --ocr out")
        if prompt.pictures != "own":
            raise VlmbenchError(f"lmms:{name}: --pictures is for our own tasks; --blind works here")
        self._prompt = prompt
        self._theirs = _loaded(name, include)
        self._documents = self._theirs.eval_docs
        self._texts = self._theirs.eval_docs_no_media
        self._results: dict[str, dict[str, dict[str, Any]]] = {}
        self._pictures = Pictures(lambda index: visuals_of(self._chat(index)))
        self._aggregation: Mapping[str, Any] = self._theirs.aggregation()
        self._metric = self._checked_metric(name)
        split = str(self._theirs.config.test_split or self._theirs.config.validation_split)
        self.name = f"lmms:{name}@{split}"
        self.rows = self._rows()
        self.task = Task(
            name=re.sub(r"\W", "_", f"lmms_{name}"),
            title=f"lmms-eval's {name}",
            metric=f"lmms:{name}/{self._metric}",
            splits=(Split(name=split),),
            read=self._read,
            score=self._score,
            form="short_answer",  # of no effect: lmms-eval words the prompt
            profiles=("official",),
        )

    def request(self, sample: Sample) -> Request:
        """Raises: ValueError where the document shows what is no picture."""
        index = int(sample.id)
        decoding = Decoding.of(self._theirs.config.generation_kwargs or {})
        messages = messages_of(self._chat(index), self._pictures.of(index))
        if self._prompt.blind:
            messages = tuple(_without_pictures(message) for message in messages)
        return Request(
            id=f"{self.name}/{sample.id}",
            image_group=sample.image_group,
            messages=messages,
            max_new_tokens=self._prompt.max_new_tokens or decoding.max_new_tokens,
            stop=decoding.stop,
        )

    def figures(self, folder: Path) -> Mapping[str, float]:
        """lmms-eval's own sums of what was scored, by metric (and by filter, where it has several).

        Their scale is the task's: a share, a percentage, or something else.
        """
        ordered = [self._results[id] for id in sorted(self._results, key=int)]
        found: dict[str, float] = {}
        for filter_name in ordered[0] if ordered else ():
            results = [result[filter_name] for result in ordered]
            for metric, aggregate in self._aggregation.items():
                values = [result[metric] for result in results if metric in result]
                if not values or SUBMISSION in metric:
                    continue
                figure = _aggregated(aggregate, values, folder)
                name = metric if len(ordered[0]) == 1 else f"{metric},{filter_name}"
                if figure is not None:
                    found[name] = figure
        return found

    def _chat(self, index: int) -> list[Mapping[str, Any]]:
        chat: list[Mapping[str, Any]] = self._theirs.doc_to_messages(self._documents[index])
        return chat

    def _rows(self) -> Rows:
        """A row a document, which holds its number alone: lmms-eval reads the document."""
        import datasets

        config = self._theirs.config
        source = ":".join(filter(None, (config.dataset_path, config.dataset_name)))
        return Rows(
            datasets.Dataset.from_dict({"document": list(range(len(self._documents)))}),
            pictures=(),
            source=source,
            revision=f"lmms-eval {importlib.metadata.version('lmms_eval')}",
            folder=Path(),
            fingerprint=self._fingerprint(),
        )

    def _fingerprint(self) -> str:
        """Of the documents as they are asked, less their pictures."""
        digest = hashlib.blake2b(digest_size=8)
        for document in self._texts:
            digest.update(json.dumps(str(self._theirs.doc_to_text(document))).encode())
        return digest.hexdigest()

    def _read(self, row: Row) -> Sample:
        index = row.id("document")
        document = self._texts[int(index)]
        return Sample(
            id=index,
            image_group=index,
            question=str(self._theirs.doc_to_text(document)),
            answers=(str(self._theirs.doc_to_target(document)),),
        )

    def _score(self, sample: Sample, prediction: Prediction, profile: Profile) -> Verdict:
        assert prediction.response is not None
        found = self._processed(int(sample.id), prediction.response)
        self._results[sample.id] = found
        first = next(iter(found.values()))
        value = self._value(first)
        return Verdict(value=value, parsed=prediction.response.strip(), how="lmms-eval")

    def _processed(self, index: int, response: str) -> dict[str, dict[str, Any]]:
        """What each of the task's filters makes of an answer: metric to what is summed up."""
        from lmms_eval.api.instance import Instance
        from lmms_eval.api.reasoning import parse_reasoning_tags_config, strip_reasoning_tags

        tags = parse_reasoning_tags_config(None, self._theirs.config.reasoning_tags)
        found = {}
        for ensemble in self._theirs._filters:
            metadata = {"task": self._theirs.config.task, "doc_id": index, "repeats": 1}
            instance = Instance("generate_until", (), 0, metadata, resps=[response])
            ensemble.apply([instance], self._documents)
            text = instance.filtered_resps[ensemble.name]
            if isinstance(text, str):
                text = strip_reasoning_tags(text, tags or REASONING_TAGS)
            document = copy.deepcopy(self._texts[index])  # VQAv2's scorer changes it
            with contextlib.redirect_stdout(sys.stderr):
                found[ensemble.name] = self._theirs.process_results(document, [text])
        return found

    def _value(self, result: Mapping[str, Any]) -> float:
        """A sample's own credit; where the task has none, what its sum gives for it alone."""
        found = result[self._metric]
        if isinstance(found, Mapping) and isinstance(found.get("score"), int | float):
            found = found["score"]
        if isinstance(found, int | float):  # a bool too
            return float(found)
        with contextlib.redirect_stdout(io.StringIO()):  # some print a table
            alone = _aggregated(self._aggregation[self._metric], [found], None)
        return math.nan if alone is None else alone

    def _checked_metric(self, name: str) -> str:
        """The first metric of the task that gives each sample a credit from 0 to 1.

        Raises: VlmbenchError with the reason why we cannot score it.
        """
        theirs = self._theirs
        instead = f"run it with `python -m lmms_eval --model vlmbench --tasks {name}`"
        if theirs.OUTPUT_TYPE != "generate_until":
            raise VlmbenchError(f"lmms:{name} is a task of {theirs.OUTPUT_TYPE}; {instead}")
        if theirs.config.repeats != 1:
            raise VlmbenchError(f"lmms:{name} asks {theirs.config.repeats} times; {instead}")
        metrics = [metric for metric in self._aggregation if SUBMISSION not in metric]
        scorers = [theirs.config.process_results, *(self._aggregation[m] for m in metrics)]
        if judge := judge_of(filter(callable, scorers)):
            raise VlmbenchError(
                f"lmms:{name} is scored with the help of a language model ({judge}); {instead}"
            )
        try:
            result = next(iter(self._processed(0, "A").values()))
        except Exception as error:  # somebody's code
            cause = error.__cause__ or error
            raise VlmbenchError(
                f"lmms:{name} cannot be scored here: {type(cause).__name__}: {cause}"
            ) from error
        for metric in metrics:
            self._metric = metric
            if metric in result and 0 <= self._value(result) <= 1:
                return metric
        raise VlmbenchError(
            f"lmms:{name} gives no sample a credit from 0 to 1 by itself; {instead}"
        )


def _loaded(name: str, include: Path | None) -> Any:
    """Raises: VlmbenchError in one line."""
    if include is not None and not include.is_dir():
        raise VlmbenchError(f"no folder {include}: --tasks-dir takes a folder of lmms-eval's yaml")
    try:
        from lmms_eval.tasks import TaskManager
    except ImportError as error:
        raise VlmbenchError(
            f"lmms:{name} needs lmms-eval, which does not load ({error}); pip install 'lmms-eval'"
        ) from None
    with contextlib.redirect_stdout(sys.stderr):
        for manager in _managers(TaskManager, include):
            if name in manager.all_subtasks:
                break
        else:
            raise no_such("task", name, manager.all_subtasks, "in lmms-eval")
        try:
            return manager.load_task_or_group([name], task_type="chat")[name]
        except Exception as error:  # somebody's code, a data set that is not there
            line = next(iter(str(error).splitlines()), "")
            raise VlmbenchError(
                f"lmms-eval cannot load its task {name}: {type(error).__name__}: {line}"
            ) from error


def _managers(manager: Any, include: Path | None) -> Iterator[Any]:
    """The folder's tasks before all: to index lmms-eval's own takes half a minute."""
    if include is not None:
        yield manager(include_path=str(include), include_defaults=False)
    yield manager(include_path=str(include) if include else None)


def _aggregated(aggregate: Any, values: Sequence[Any], folder: Path | None) -> float | None:
    """None: not a number."""
    given: dict[str, Any] = {}
    if "args" in inspect.signature(aggregate).parameters:
        if folder is None:
            return None  # it may write a file
        given["args"] = argparse.Namespace(output_path=str(folder))
    with contextlib.redirect_stdout(sys.stderr) if folder else contextlib.nullcontext():
        found = aggregate(copy.deepcopy(list(values)), **given)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number else None


def _without_pictures(message: Message) -> Message:
    return Message(
        role=message.role,
        content=tuple(piece for piece in message.content if isinstance(piece, str)),
    )

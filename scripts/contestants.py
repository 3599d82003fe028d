"""Who answers the questions of a benchmark, and what an answer is measured by."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch

import idefics2
from idefics2.engine import Engine, Request, lazy_image
from idefics2.generate import Sampling, generate
from idefics2.prompt import Slots
from vlmbench.backends.bench.workloads import Question


def attention_of_lmms_eval(device: str) -> str:
    """What lmms-eval 0.7.3 asks transformers for: eager, if flash attention is not installed."""
    is_installed = device == "cuda" and find_spec("flash_attn") is not None
    return "flash_attention_2" if is_installed else "eager"


@dataclass(slots=True)
class Turn:
    """One contestant's answers to a workload."""

    seconds: float
    ids: list[tuple[int, ...]]
    first_token_s: list[float] = field(default_factory=list)
    token_s: list[float] = field(default_factory=list)
    peak_memory_bytes: int | None = None


class OurEngine:
    """Requests in the order of the data; pictures are decoded in threads."""

    name = "engine"

    def __init__(self, model: idefics2.Idefics2, processor: idefics2.Processor) -> None:
        self.engine = Engine(model, decode=processor.decode)
        self._processor = processor

    def __call__(self, questions: Sequence[Question]) -> Turn:
        start = time.perf_counter()
        results = {r.id: r for r in self.engine.run(map(self._request, enumerate(questions)))}
        turn = Turn(time.perf_counter() - start, [])
        for index in range(len(questions)):
            result = results[f"{index:06}"]
            assert not result.error, result.error
            turn.ids.append(result.ids)
            turn.first_token_s.append(result.timings.first_token_s)
            if len(result.ids) > 1:
                turn.token_s.append(result.timings.decode_s / (len(result.ids) - 1))
        return turn

    def _request(self, numbered: tuple[int, Question]) -> Request:
        index, question = numbered
        shown = [
            lazy_image(self._processor, hashlib.blake2b(p.encoded()).hexdigest(), p.decode)
            for p in question.pictures
        ]
        content: tuple[str | Slots, ...] = (*(each.slots for each in shown), question.text)
        return Request(
            id=f"{index:06}",
            ids=self._processor.chat([idefics2.Message("user", content)]).ids,
            images=tuple(shown),
            sampling=Sampling(max_new_tokens=question.num_new, bad_ids=self._processor.bad_ids),
        )


class PlainLoop:
    """Our own `generate`, one request after the other, in one thread."""

    name = "plain loop"

    def __init__(self, model: idefics2.Idefics2, processor: idefics2.Processor) -> None:
        self._model, self._processor = model, processor

    def __call__(self, questions: Sequence[Question]) -> Turn:
        turn = Turn(0.0, [])
        start = time.perf_counter()
        for question in questions:
            began = time.perf_counter()
            content = (*(each.decode() for each in question.pictures), question.text)
            prompt = self._processor.chat([idefics2.Message("user", content)])
            prepared_s = time.perf_counter() - began
            sampling = Sampling(max_new_tokens=question.num_new, bad_ids=self._processor.bad_ids)
            [found] = generate(self._model, [prompt], sampling)
            turn.ids.append(found.ids)
            first_s = prepared_s + found.timings.encode_s + found.timings.prefill_s
            turn.first_token_s.append(first_s)
            if len(found.ids) > 1:
                turn.token_s.append(found.timings.decode_s / (len(found.ids) - 1))
        turn.seconds = time.perf_counter() - start
        return turn


class Transformers:
    """Batches in the order of the data, each step after the other in one thread.

    With a batch size of 1 and its attention this is what lmms-eval's `models/simple/idefics2.py`
    does.
    """

    def __init__(
        self, model: Any, processor: Any, bad_ids: list[list[int]], size: int, attention: str
    ) -> None:
        """A contestant.

        Args:
            model: transformers' model, which contestants share.
            processor: transformers' processor.
            bad_ids: Sequences that are never generated.
            size: Of a batch.
            attention: One of transformers' implementations; it is set before each workload.
        """
        import transformers

        self.name = f"transformers, batch {size}, {attention}"
        self.size, self.attention = size, attention
        self._model, self._processor = model, processor
        kind: Any = transformers.GenerationConfig
        self._config = kind(
            do_sample=False, eos_token_id=None, pad_token_id=0, bad_words_ids=bad_ids
        )

    def __call__(self, questions: Sequence[Question]) -> Turn:
        turn = Turn(0.0, [])
        self._model.set_attn_implementation(self.attention)
        start = time.perf_counter()
        for first in range(0, len(questions), self.size):
            self._answer(questions[first : first + self.size], turn)
        turn.seconds = time.perf_counter() - start
        return turn

    @torch.inference_mode()
    def _answer(self, questions: Sequence[Question], turn: Turn) -> None:
        start = time.perf_counter()
        pictures = [[p.decode().convert("RGB") for p in q.pictures] for q in questions]
        texts = [self._rendered(question) for question in questions]
        inputs = self._processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        inputs = inputs.to(self._model.device, dtype=self._model.dtype)
        most = max(question.num_new for question in questions)
        times: list[float] = []

        def note(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            times.append(time.perf_counter())
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

        self._config.max_new_tokens = most
        found = self._model.generate(
            **inputs, generation_config=self._config, stopping_criteria=[note]
        )
        rows = found[:, inputs["input_ids"].shape[1] :].tolist()
        for question, row in zip(questions, rows, strict=True):
            turn.ids.append(tuple(row[: question.num_new]))
            turn.first_token_s.append(times[0] - start)
            if most > 1:
                turn.token_s.append((times[-1] - times[0]) / (most - 1))

    def _rendered(self, question: Question) -> str:
        content = [{"type": "image"} for _ in question.pictures]
        messages = [
            {"role": "user", "content": [*content, {"type": "text", "text": question.text}]}
        ]
        text: str = self._processor.apply_chat_template(messages, add_generation_prompt=True)
        return text

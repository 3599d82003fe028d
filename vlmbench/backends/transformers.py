"""Any `AutoModelForImageTextToText` checkpoint, with its own processor and chat template.

Batches are left-padded, and made by the checkpoint's own processor. What its
`generation_config.json` says of stopping, of repetition and of words not to say holds; what it says
of sampling does not, as the run has its own.

A picture's vision features are kept for further questions about it, where the model bears it: see
`vision_cache`.

The timings of a batch are shared by its requests but for the decoding, which ends with each answer;
pictures are encoded within the prefill. Device time is divided: the prefill among all rows, a
decode step among those that are not finished.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vlmbench.backends import auto_model, checkpoint, devices
from vlmbench.backends.batching import NOT_NUMBERS, Batching, about_tokens, failed, seed_of
from vlmbench.backends.checkpoint import Checkpoint
from vlmbench.backends.decoding import Draw, FirstLogits, Force, Keep, Watch
from vlmbench.backends.notices import Notices
from vlmbench.backends.rendering import Look, Rendered, encode, end_of_turn, render
from vlmbench.backends.settings import TransformersSettings as Settings
from vlmbench.backends.spelling import continuation, joined, spellings
from vlmbench.backends.stop_strings import opens_thought
from vlmbench.backends.vision_cache import VisionCache, keys_of
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Probe, Request, Response, Timings

BATCH_SIZE = 8

TOKENS_A_PICTURE = 500
"""A guess, for putting requests of like length in one batch."""


def check(argument: str) -> None:
    """Raises: VlmbenchError if the argument is neither a checkpoint's folder nor a hub id."""
    checkpoint.check(argument)


def identity(argument: str, settings: Settings) -> Mapping[str, Json]:
    """What must be equal for a run to be resumed: see `checkpoint.identity`."""
    found = checkpoint.identity("transformers", argument, settings)
    if settings.system is not None:
        found["system"] = settings.system
    if settings.processor_arg:
        found["processor_arg"] = dict(settings.processor_arg)
    if settings.trust_remote_code:
        found["remote_code"] = checkpoint.find(argument, settings).code_digest
    return found


def open(argument: str, settings: Settings) -> TransformersBackend:
    """Raises: VlmbenchError for a checkpoint that is not there, not whole, or no such model."""
    import torch
    from jinja2 import TemplateError
    from safetensors import SafetensorError

    mistakes = (OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError)
    others = (AttributeError, EOFError, SafetensorError, TemplateError)
    found = checkpoint.find(argument, settings)
    device = devices.device_of(settings.device)
    dtype = devices.dtype_of(settings.dtype, device)
    try:
        processor = auto_model.processor(found, settings)
        model = auto_model.model(found, dtype, settings)
        model = model.eval() if settings.device_map else model.to(device).eval()
        return TransformersBackend(model, processor, found, settings)
    except torch.OutOfMemoryError as error:
        raise VlmbenchError(f"{argument} does not fit on {device} in {dtype}") from error
    except (*mistakes, *others) as error:
        raise VlmbenchError(f"{argument}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True, slots=True)
class _Generation:
    """Prompts to go on from, a row each."""

    prompts: Sequence[Rendered]
    inputs: Any


@dataclass(frozen=True, slots=True)
class _Ranking:
    """One prompt with its candidates, a row each, in parts of at most a batch's size."""

    prompt: Rendered
    parts: Sequence[tuple[Any, Sequence[Sequence[int]]]]
    """A part's inputs, which end before the candidate, and its candidates' ids."""


class TransformersBackend:
    """Is also the `BatchModel` of its batches."""

    def __init__(self, model: Any, processor: Any, found: Checkpoint, settings: Settings) -> None:
        self._model, self._processor = model, processor
        self._found, self._settings = found, settings
        self._batch_size = settings.batch_size or BATCH_SIZE
        # a fast tokenizer bears no second thread: the processor's is locked, this one is its copy
        self._processing = threading.Lock()
        self._tokenizer = copy.deepcopy(processor.tokenizer)
        self._own, self._plain = auto_model.generation_configs(model, self._tokenizer)
        self._stop_ids = frozenset(self._plain.eos_token_id)
        self._end_of_turn = end_of_turn(processor, self._stop_ids)
        self._context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._image_id = auto_model.image_token_id(model, processor)
        on_white = bool(getattr(processor.image_processor, "do_convert_rgb", False))
        self._look = Look(on_white, settings.max_side, settings.system)
        self._notices = Notices()
        checkpoint.tell(found, self._notices, is_bare=processor.chat_template is None)
        self._vision: VisionCache | None = None
        if settings.vision_cache_gib and hasattr(model.base_model, "get_image_features"):
            self._vision = VisionCache(model, int(settings.vision_cache_gib * 2**30))

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        return Batching(self, self._batch_size).answers(requests)

    def probe(self) -> Probe:
        device, image_processor = self._model.device, self._processor.image_processor
        return Probe(
            model=f"transformers:{self._found.name}",
            revision=self._found.revision,
            weights_digest=self._found.weights_digest,
            device=str(device),
            device_name=devices.name_of(device),
            device_uuid=devices.uuid_of(device),
            dtype=str(self._model.dtype).removeprefix("torch."),
            num_parameters=self._model.num_parameters(),
            peak_device_memory_bytes=devices.peak_memory_bytes(device),
            settings={
                "files": self._found.files_digest,
                "split_images": getattr(image_processor, "do_image_splitting", None),
                "transparency": "on white" if self._look.on_white else "dropped",
                "device_map": self._settings.device_map,
                "processor_arg": dict(self._settings.processor_arg or {}),
                "attention": "sdpa",
                "batch_size": self._batch_size,
                "vision_cache_gib": self._settings.vision_cache_gib if self._vision else 0.0,
                **checkpoint.sampling(self._settings),
                **self._found.adapted,
            },
            work={}
            if self._vision is None
            else {
                "num_crops_requested": self._vision.num_asked,
                "num_crops_encoded": self._vision.num_computed,
            },
            notices=self._notices.lines,
        )

    def close(self) -> None:
        del self._model
        devices.free()

    def size(self, request: Request) -> float:
        return about_tokens(request, TOKENS_A_PICTURE)

    def prepare(self, request: Request) -> Rendered:
        return render(self._processor, request, self._look)

    def collate(self, prepared: Sequence[Rendered]) -> _Generation | Sequence[_Ranking]:
        with self._processing:
            if prepared[0].request.candidates:
                return [self._ranking(prompt) for prompt in prepared]
            return _Generation(prepared, self._inputs(prepared))

    def answer(self, batch: _Generation | Sequence[_Ranking]) -> list[Response]:
        self._verify(batch.inputs if isinstance(batch, _Generation) else batch[0].parts[0][0])
        if isinstance(batch, _Generation):
            return self._generate(batch)
        return [self._choose(ranking) for ranking in batch]

    def _inputs(self, prompts: Sequence[Rendered]) -> Any:
        texts = [prompt.text for prompt in prompts]
        pictures = [list(prompt.pictures) for prompt in prompts]
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        if any(pictures):
            options["images"] = pictures
        bos = self._processor.tokenizer.bos_token
        if bos and texts[0].startswith(bos):  # the template wrote it
            options["add_special_tokens"] = False
        inputs = self._processor(text=texts, **options)
        assert bool(inputs["attention_mask"][:, -1].all()), "prompts must be padded on the left"
        inputs.vision_keys = None if self._vision is None else keys_of(inputs)  # still on the host
        return inputs

    def _ranking(self, prompt: Rendered) -> _Ranking:
        ids_of = partial(encode, self._processor.tokenizer)
        before = ids_of(prompt.text)
        candidates = [
            continuation(before, ids_of(joined(prompt.text, text) + self._end_of_turn))
            for text in prompt.request.candidates
        ]
        size = self._batch_size
        parts = [candidates[start : start + size] for start in range(0, len(candidates), size)]
        return _Ranking(prompt, [(self._inputs([prompt] * len(part)), part) for part in parts])

    def _generate(self, batch: _Generation) -> list[Response]:
        requests = [prompt.request for prompt in batch.prompts]
        rooms = [self._room(length) for length in _lengths(batch.inputs)]
        if min(rooms) < 1:
            return self._without_long_ones(batch.prompts, rooms)
        limits = [int(min(requests[0].max_new_tokens, room)) for room in rooms]
        decode = partial(self._tokenizer.decode, skip_special_tokens=True)
        thinking = [opens_thought(prompt.text) for prompt in batch.prompts]
        watch = Watch(limits, self._stop_ids, requests[0].stop, decode, thinking)
        first = FirstLogits()
        config = copy.deepcopy(self._own)
        config.bad_words_ids = self._barred(requests[0].bad_words)
        config.max_new_tokens = max(limits)
        start = time.perf_counter()
        self._run(batch.inputs, config, [first, *self._draws(requests)], [watch])
        shares = watch.shares(start, time.perf_counter())
        answers: list[Response] = []
        for index, (request, row) in enumerate(zip(requests, watch.rows, strict=True)):
            if first.is_nan[index]:
                nan = failed(request, FloatingPointError(NOT_NUMBERS))
                answers.append(replace(nan, device_s=shares[index]))
                continue
            answers.append(
                Response(
                    id=request.id,
                    text=watch.text(row),
                    finish_reason=row.finish_reason or "length",
                    visual_tokens=self._visual_tokens(batch.inputs, index),
                    prompt_tokens=_lengths(batch.inputs)[index],
                    generated_tokens=len(row.ids),
                    device_s=shares[index],
                    timings=Timings(
                        prefill_s=watch.first_token_at - start,
                        first_token_s=watch.first_token_at - start,
                        decode_s=row.finished_at - watch.first_token_at,
                    ),
                )
            )
        return answers

    def _without_long_ones(
        self, prompts: Sequence[Rendered], rooms: Sequence[float]
    ) -> list[Response]:
        short = [prompt for prompt, room in zip(prompts, rooms, strict=True) if room > 0]
        answers = iter(self.answer(self.collate(short)) if short else [])
        return [
            next(answers) if room > 0 else failed(prompt.request, self._too_long())
            for prompt, room in zip(prompts, rooms, strict=True)
        ]

    def _choose(self, ranking: _Ranking) -> Response:
        """The first of the likeliest candidates."""
        request, first_inputs = ranking.prompt.request, ranking.parts[0][0]
        scores: list[float] = []
        start = time.perf_counter()
        for inputs, candidates in ranking.parts:
            config = copy.deepcopy(self._plain)
            config.max_new_tokens = max(map(len, candidates))
            if self._room(_lengths(inputs)[0]) < config.max_new_tokens:
                return failed(request, self._too_long())
            force = Force(candidates)
            self._run(inputs, config, [force], [])
            scores += force.log_likelihoods
        if any(map(math.isnan, scores)):
            return failed(request, FloatingPointError(NOT_NUMBERS))
        return Response(
            id=request.id,
            text=request.candidates[scores.index(max(scores))],
            finish_reason="choice",
            visual_tokens=self._visual_tokens(first_inputs, 0),
            prompt_tokens=_lengths(first_inputs)[0],
            generated_tokens=0,
            device_s=time.perf_counter() - start,
        )

    def _verify(self, inputs: Any) -> None:
        """Tries the vision cache on the first batch with pictures; it goes if answers change."""
        vision, keys = self._vision, inputs.vision_keys
        if vision is None or not keys or vision.is_verified(keys):
            return
        config = copy.deepcopy(self._plain)
        config.max_new_tokens = 1

        def logits() -> Any:
            keep = Keep()
            self._generate_ids(inputs, config, [keep], [])
            return keep.scores

        try:
            vision.verify(keys, logits)
        except ValueError as error:
            vision.remove()
            self._vision = None
            self._notices.tell(
                f"pictures are encoded anew for each question, as this "
                f"{self._model.config.model_type} model does not bear a cache of them: {error}"
            )

    def _run(self, inputs: Any, config: Any, processors: list[Any], criteria: list[Any]) -> None:
        with nullcontext() if self._vision is None else self._vision.of(inputs.vision_keys):
            self._generate_ids(inputs, config, processors, criteria)

    def _generate_ids(
        self, inputs: Any, config: Any, processors: list[Any], criteria: list[Any]
    ) -> None:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        with torch.inference_mode():
            self._model.generate(
                **inputs.to(self._model.device, dtype=self._model.dtype),
                generation_config=config,
                logits_processor=LogitsProcessorList(processors),
                stopping_criteria=StoppingCriteriaList(criteria),
            )

    def _draws(self, requests: Sequence[Request]) -> list[Draw]:
        settings = self._settings
        if settings.temperature == 0:
            return []
        seeds = [seed_of(settings.seed, request.id) for request in requests]
        return [Draw(seeds, settings.temperature, settings.top_p)]

    def _barred(self, words: Sequence[str]) -> list[list[int]] | None:
        own = self._own.bad_words_ids or []
        ids_of = partial(encode, self._tokenizer)
        spelt = sorted({ids for word in words for ids in spellings(word, ids_of)})
        return [*own, *map(list, spelt)] or None

    def _room(self, length: int) -> float:
        """New tokens that the context has room for."""
        return math.inf if self._context is None else self._context - length

    def _too_long(self) -> ValueError:
        return ValueError(f"the prompt leaves no room in the context of {self._context} tokens")

    def _visual_tokens(self, inputs: Any, row: int) -> int | None:
        if self._image_id is None:
            return None
        return int((inputs["input_ids"][row] == self._image_id).sum())


def _lengths(inputs: Any) -> list[int]:
    lengths: list[int] = inputs["attention_mask"].sum(-1).tolist()
    return lengths

"""Idefics2 by our own package; with `idefics2_prompts`, all of the harness that knows it.

The engine plans some thousands of requests together: each picture is decoded and encoded once, and
each prefix that prompts share is prefilled once. Answers come as they are ready, in any order. A
result that a request finds cached costs it nothing, and a batch's time counts for all requests in
it: so the times of many requests do not add up to those of a run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from vlmbench.backends import checkpoint, devices, protocol
from vlmbench.backends.batching import failed
from vlmbench.backends.checkpoint import Checkpoint
from vlmbench.backends.notices import Notices
from vlmbench.backends.settings import Idefics2Settings as Settings
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Probe, Request, Response, Timings

if TYPE_CHECKING:
    import idefics2
    from idefics2.checkpoint import Folders
    from idefics2.engine import Limits, Result
    from idefics2.engine import Request as EngineRequest
    from vlmbench.backends.idefics2_prompts import Prepared

MODEL_TYPES = ("idefics2", "idefics2_variant")
"""`model_type` in `config.json`: of the release, and of the paper's ablations."""


def check(argument: str) -> None:
    """Raises: VlmbenchError if the argument is neither a checkpoint's folder nor a hub id."""
    checkpoint.check(argument)


def identity(argument: str, settings: Settings) -> Mapping[str, Json]:
    """What must be equal for a run to be resumed: see `checkpoint.identity`."""
    found = checkpoint.identity("idefics2", argument, settings)
    if settings.keep_visual_tokens < 1:
        found["keep_visual_tokens"] = settings.keep_visual_tokens
    if settings.quantize is not None:
        found["quantize"] = settings.quantize
    return found | ({"deterministic": True} if settings.deterministic else {})


def forecast(argument: str, settings: Settings) -> protocol.Forecast:
    """What requests would cost, from the checkpoint's small files alone.

    Raises: VlmbenchError for a checkpoint that is not there, or is no Idefics2.
    """
    import idefics2
    from idefics2.checkpoint import load_processor
    from idefics2.flops import Forecast
    from vlmbench.backends.idefics2_prompts import thinning_of

    found = _find(argument, settings)
    try:
        config = idefics2.Idefics2Config.from_json(found.folder / "config.json")
        images = load_processor(_folders(found), config).images
    except ValueError as error:
        raise _mistake(argument, error) from error
    if settings.split_images is not None:
        images = replace(images, split=settings.split_images)
    return Forecast(config, images, thinning_of(settings))


def ask(arguments: Sequence[str]) -> int:
    """`vlmbench ask`: the model's own command, under our name; its exit code."""
    from idefics2.ask import ask

    return ask(arguments, prog="vlmbench ask")


def open(argument: str, settings: Settings) -> Idefics2Backend:
    """Raises: VlmbenchError for a checkpoint that is not there, not whole, or no Idefics2."""
    import torch

    import idefics2
    from idefics2.int8 import quantize

    found = _find(argument, settings)
    device = devices.device_of(settings.device)
    dtype = devices.dtype_of(settings.dtype, device)
    try:
        model, processor = idefics2.load(
            found.source,
            revision=found.revision or None,
            dtype=dtype,
            device=device,
            adapter=found.adapter,
            processor=found.processor,
        )
        if settings.quantize is not None:
            quantize(model)
    except torch.OutOfMemoryError as error:
        raise VlmbenchError(f"{argument} does not fit on {device} in {dtype}") from error
    except ValueError as error:
        raise _mistake(argument, error) from error
    if settings.keep_visual_tokens < 1 and model.config.architecture == "cross_attention":
        raise VlmbenchError(
            f"{argument} attends to pictures from outside the sequence, which holds no visual "
            "tokens to drop: leave keep_visual_tokens out"
        )
    images = replace(processor.images, on_white=True)  # as in training
    if settings.split_images is not None:
        images = replace(images, split=settings.split_images)
    processor = replace(processor, images=images)
    return Idefics2Backend(model, processor, found, settings)


def _find(argument: str, settings: Settings) -> Checkpoint:
    found = checkpoint.find(argument, settings)
    kind = found.config.get("model_type")
    if kind not in MODEL_TYPES:
        raise VlmbenchError(
            f"{argument} is a {kind} checkpoint, not Idefics2; try transformers:{argument}"
        )
    return found


def _mistake(argument: str, error: ValueError) -> VlmbenchError:
    """An error in one line that names the model, once."""
    text = " ".join(str(error).split())
    return VlmbenchError(text if text.startswith(argument) else f"{argument}: {text}")


def _folders(found: Checkpoint) -> Folders:
    from idefics2.checkpoint import Folders

    return Folders(found.folder, found.processor, found.adapter)


class Idefics2Backend:
    """An engine with the harness's requests and responses around it."""

    def __init__(
        self,
        model: idefics2.Idefics2,
        processor: idefics2.Processor,
        found: Checkpoint,
        settings: Settings,
    ) -> None:
        from idefics2.engine import Engine
        from vlmbench.backends.idefics2_prompts import Prompts

        self._model, self._processor = model, processor
        self._found, self._settings = found, settings
        self._prompts = Prompts(processor, settings)
        self._notices = Notices()
        checkpoint.tell(found, self._notices, is_bare=processor.chat_template is None)
        self._engine = Engine(
            model,
            _limits(model, settings),
            deterministic=settings.deterministic,
            decode=processor.decode,
        )

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """`Backend.generate`, reading requests ahead by some thousands, pictures by a few."""
        asked: dict[str, _Asked] = {}
        refused: deque[Response] = deque()
        results = self._engine.run(self._prepared(requests, asked, refused))
        try:
            for result in results:
                while refused:
                    yield refused.popleft()
                yield self._response(asked.pop(result.id), result)
        finally:
            results.close()
        yield from refused

    def probe(self) -> Probe:
        return Probe(
            model=f"idefics2:{self._found.name}",
            revision=self._found.revision,
            weights_digest=self._found.weights_digest,
            device=str(self._model.device),
            device_name=devices.name_of(self._model.device),
            device_uuid=devices.uuid_of(self._model.device),
            dtype=str(self._model.dtype).removeprefix("torch."),
            num_parameters=sum(parameter.numel() for parameter in self._model.parameters()),
            peak_device_memory_bytes=devices.peak_memory_bytes(self._model.device),
            settings={
                "files": self._found.files_digest,
                "split_images": self._processor.images.split,
                "transparency": "on white",
                "token_ids": self._processor.compat,
                "batch_size": self._settings.batch_size,
                "cache_gib": self._settings.cache_gib,
                "deterministic": self._settings.deterministic,
                "keep_visual_tokens": self._settings.keep_visual_tokens,
                "quantize": self._settings.quantize,
                **checkpoint.sampling(self._settings),
                **self._found.adapted,
            },
            work=asdict(self._engine.stats),
            notices=self._notices.lines,
        )

    def profile(self) -> None:
        """Time every stage in `probe().work["seconds"]` from now on; slower."""
        self._engine.is_profiled = True

    def close(self) -> None:
        del self._engine, self._model
        devices.free()

    def _prepared(
        self, requests: Iterable[Request], asked: dict[str, _Asked], refused: deque[Response]
    ) -> Iterator[EngineRequest]:
        """Runs in a thread of the engine, ahead of it."""
        for request in requests:
            start = time.perf_counter()
            try:
                prepared = self._prompts.prepare(request)
            except Exception as error:  # the sample boundary
                timings = Timings(total_s=time.perf_counter() - start)
                refused.append(replace(failed(request, error), timings=timings))
                continue
            asked[request.id] = _Asked(request, prepared, start, time.perf_counter() - start)
            yield prepared.request

    def _response(self, asked: _Asked, result: Result) -> Response:
        total_s = time.perf_counter() - asked.read_at
        config, ids = self._model.config, asked.prepared.request.ids
        if result.finish_reason == "error":
            return Response(
                id=result.id,
                text=None,
                finish_reason="error",
                error=" ".join(result.error.split()),
                attempt=result.attempt,
                timings=Timings(total_s=total_s),
                device_s=result.device_s,
            )
        text, is_choice = result.text, result.finish_reason == "scored"
        if is_choice:  # the first of the likeliest
            scores = result.log_likelihoods
            text = asked.request.candidates[scores.index(max(scores))]
        times = result.timings
        return Response(
            id=result.id,
            text=text,
            finish_reason="choice" if result.finish_reason == "scored" else result.finish_reason,
            visual_tokens=config.visual_tokens_of(ids.count(config.image_id)),
            prompt_tokens=len(ids),
            generated_tokens=len(result.ids),
            flops=None if is_choice else self._flops(asked.prepared, result),
            log_likelihoods=tuple(result.log_likelihoods),
            attempt=result.attempt,
            device_s=result.device_s,
            timings=Timings(
                queue_s=times.queue_s,
                preprocess_s=asked.tokenize_s + times.preprocess_s,
                encode_s=times.encode_s,
                prefill_s=times.prefill_s,
                first_token_s=None if is_choice else asked.tokenize_s + times.first_token_s,
                decode_s=None if is_choice else times.decode_s,
                total_s=total_s,
            ),
        )

    def _flops(self, prepared: Prepared, result: Result) -> int | None:
        from idefics2 import flops

        if prepared.grid is None:
            return None
        ids = result.ids
        # a stop id is generated too, though it is not in the answer; a stop string's ids are
        is_id = result.finish_reason == "stop" and self._processor.decode(ids) == result.text
        num_new, num_prompt = len(ids) + is_id, len(prepared.request.ids)
        return flops.of_answer(self._model.config, prepared.grid, num_prompt, num_new).total


@dataclass(frozen=True, slots=True)
class _Asked:
    request: Request
    prepared: Prepared
    read_at: float
    """Time of reading, by `perf_counter`."""
    tokenize_s: float


def _limits(model: idefics2.Idefics2, settings: Settings) -> Limits:
    """The engine's own, but for what is set."""
    from idefics2.engine import Limits

    num_bytes = None if settings.cache_gib is None else int(settings.cache_gib * 2**30)
    try:
        limits = Limits.of(model, num_bytes)
    except ValueError as error:
        raise VlmbenchError(f"cache_gib {settings.cache_gib} is too little: {error}") from error
    if settings.batch_size is not None:
        limits = replace(limits, running=settings.batch_size)
    return limits

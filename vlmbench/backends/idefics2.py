"""Idefics2 by our own package; with `idefics2_prompts`, all of the harness that knows it.

The engine plans some thousands of requests together: each picture is decoded and encoded once, and
what prompts begin with in common is read once. Answers come as they are ready, in no order. What a
request found at hand costs it nothing, so the times of many do not add up to those of a run.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from vlmbench.backends import checkpoint, devices, diagnosis, protocol
from vlmbench.backends.batching import failed
from vlmbench.backends.checkpoint import Checkpoint
from vlmbench.backends.notices import Notices
from vlmbench.backends.settings import Settings
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Probe, Request, Response, Timings

if TYPE_CHECKING:
    import idefics2
    from idefics2.engine import Budget, Result
    from idefics2.engine import Request as EngineRequest
    from vlmbench.backends.idefics2_prompts import Prepared

SETTINGS = (
    *("batch_size", "device", "dtype", "split_images", "temperature", "top_p", "seed"),
    *("cache_gib", "deterministic", "max_side"),
)

MODEL_TYPES = ("idefics2", "idefics2_variant")
"""Of `config.json`: the released architecture, and those of the paper's ablations."""


def check(argument: str) -> None:
    """Raises: VlmbenchError if the argument is neither a checkpoint's folder nor a hub id."""
    checkpoint.check(argument)


def identity(argument: str, settings: Settings) -> Mapping[str, Json]:
    """What must be equal for a run to be resumed: see `checkpoint.identity`."""
    found = checkpoint.identity("idefics2", argument, settings) | {"transparency": "on white"}
    return found | ({"deterministic": True} if settings.deterministic else {})


def forecast(argument: str, settings: Settings) -> protocol.Forecast:
    """What requests would cost, from the checkpoint's small files alone.

    Raises: VlmbenchError for a checkpoint that is not there, or is no Idefics2.
    """
    import idefics2
    from idefics2.flops import Forecast

    found = _find(argument)
    try:
        config = idefics2.Idefics2Config.from_json(found.folder / "config.json")
        images = idefics2.Processor.load(found.folder, config).images
    except ValueError as error:
        raise VlmbenchError(f"{argument}: {' '.join(str(error).split())}") from error
    if settings.split_images is not None:
        images = replace(images, split=settings.split_images)
    return Forecast(config, images)


def ask(arguments: Sequence[str]) -> int:
    """`vlmbench ask`: the model's own command, under our name; its exit code."""
    from idefics2.ask import ask

    return ask(arguments, prog="vlmbench ask")


def open(argument: str, settings: Settings) -> Idefics2Backend:
    """Raises: VlmbenchError for a checkpoint that is not there, not whole, or no Idefics2."""
    import torch

    import idefics2

    found = _find(argument)
    device = devices.device_of(settings.device)
    dtype = devices.dtype_of(settings.dtype, device, found.dtype)
    try:
        model, processor = idefics2.load(
            found.source,
            revision=found.revision or None,
            dtype=dtype,
            device=device,
            compat=_compat(found),
        )
    except torch.OutOfMemoryError as error:
        raise VlmbenchError(f"{argument} does not fit on {device} in {dtype}") from error
    except ValueError as error:
        raise VlmbenchError(f"{argument}: {' '.join(str(error).split())}") from error
    images = replace(processor.images, on_white=True)  # as in training
    if settings.split_images is not None:
        images = replace(images, split=settings.split_images)
    processor = replace(processor, images=images)
    return Idefics2Backend(model, processor, found, settings)


def _find(argument: str) -> Checkpoint:
    found = checkpoint.find(argument)
    kind = found.config.get("model_type")
    if kind not in MODEL_TYPES:
        raise VlmbenchError(
            f"{argument} is a {kind} checkpoint, not Idefics2; try transformers:{argument}"
        )
    diagnosis.check_processor(found.folder)
    if quantised := found.config.get("quantization_config"):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise VlmbenchError(f"{argument} is quantised ({method}); try transformers:{argument}")
    if found.has_adapter:
        raise VlmbenchError(
            f"{argument} has an adapter beside its weights ({diagnosis.ADAPTER}), which this "
            f"backend does not apply: merge them, or take the file away, or try "
            f"transformers:{argument}"
        )
    return found


def _compat(found: Checkpoint) -> idefics2.Compat:
    """The token ids that the checkpoint knows: those of the transformers that wrote it.

    Since 5.0 its processor puts a space behind a picture. The released checkpoints are older.
    """
    writer = str(found.config.get("transformers_version", ""))
    return "transformers>=5" if re.match(r"[5-9]\.|\d\d", writer) else "release"


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
        checkpoint.tell(found, self._notices, processor.chat_template is None)
        self._engine = Engine(
            model,
            _budget(model, settings),
            deterministic=settings.deterministic,
            decode=processor.decode,
        )

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """As the protocol has it; requests are read ahead by some thousands, pictures by a few."""
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
            weights_digest=checkpoint.weights_digest(self._found.folder),
            device=str(self._model.device),
            device_name=devices.name_of(self._model.device),
            device_uuid=devices.uuid_of(self._model.device),
            dtype=str(self._model.dtype).removeprefix("torch."),
            num_parameters=sum(parameter.numel() for parameter in self._model.parameters()),
            peak_device_memory_bytes=devices.peak_memory_bytes(self._model.device),
            settings={
                "files": checkpoint.files_digest(self._found.folder),
                "split_images": self._processor.images.split,
                "transparency": "on white",
                "token_ids": self._processor.compat,
                "batch_size": self._settings.batch_size,
                "cache_gib": self._settings.cache_gib,
                "deterministic": self._settings.deterministic,
                **checkpoint.sampling(self._settings),
            },
            work=asdict(self._engine.work),
            notices=self._notices.lines,
        )

    def profile(self) -> None:
        """From now on `probe().work["seconds"]` has every stage; takes longer."""
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
        ids = asked.prepared.request.ids
        if result.finish_reason == "error":
            return Response(
                id=result.id,
                text=None,
                finish_reason="error",
                error=" ".join(result.error.split()),
                attempt=result.attempt,
                timings=Timings(total_s=total_s),
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
            visual_tokens=ids.count(self._model.config.image_id),
            prompt_tokens=len(ids),
            generated_tokens=len(result.ids),
            flops=None if is_choice else self._flops(asked.prepared, result),
            log_likelihoods=tuple(result.log_likelihoods),
            attempt=result.attempt,
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
    """On the clock of `time.perf_counter`."""
    tokenize_s: float


def _budget(model: idefics2.Idefics2, settings: Settings) -> Budget:
    """The engine's own, but for what is set."""
    from idefics2.engine import Budget

    num_bytes = None if settings.cache_gib is None else int(settings.cache_gib * 2**30)
    try:
        budget = Budget.of(model, num_bytes)
    except ValueError as error:
        raise VlmbenchError(f"cache_gib {settings.cache_gib} is too little: {error}") from error
    if settings.batch_size is not None:
        budget = replace(budget, answers=settings.batch_size)
    return budget

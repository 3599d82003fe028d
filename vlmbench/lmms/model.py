"""Our backends as a model of lmms-eval: `python -m lmms_eval --model vlmbench`.

    --model_args pretrained=idefics2:PATH_OR_HUB_ID,dtype=bfloat16,split_images=False

`pretrained` is what `vlmbench run --model` takes (without a backend's name: idefics2), the other
arguments are its settings. All requests of a call go to the backend at once, which plans them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from loguru import logger

from vlmbench.backends import registry
from vlmbench.backends.devices import device_of
from vlmbench.backends.protocol import Backend
from vlmbench.lmms.conversation import Decoding, Pictures, messages_of, user_turn, visuals_of
from vlmbench.schema import Message, Request, Response

SPARE_BYTES = 8
"""Length of a greedy answer beyond the longest continuation that it is compared with."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that is built, and its pictures read, when its turn comes."""

    id: str
    build: Callable[[str], Request]


class _Vlmbench(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """The common part of both models; a request is `(context, ..., document, task, split)`."""

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> None:
        """`batch_size`: lmms-eval's default of 1 counts as not given; `max_batch_size` is unused.

        Raises: VlmbenchError for an unknown backend, a missing checkpoint, a setting of no use.
        """
        super().__init__()
        self._spec = pretrained if ":" in pretrained else f"idefics2:{pretrained}"
        if str(batch_size or 1) not in ("1", "auto"):
            settings["batch_size"] = int(str(batch_size))
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            if device == "cuda":
                device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            device = device or str(device_of("auto"))
        if device is not None and registry.uses(self._spec, "device"):
            settings["device"] = device
        registry.check(self._spec, settings)
        self._settings = settings
        self._backend: Backend | None = None
        self._opened: Mapping[str, Any] = {}
        self._pictures = Pictures(self._visuals)

    @property
    def device(self) -> str:
        """The device on which lmms-eval gathers its counts when several processes run."""
        return str(self._settings.get("device", "cpu"))

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answers in the order of the requests; a failed one is empty, and its error is logged."""
        drawn: dict[tuple[float, float], list[_Waiting]] = {}
        ids = _ids(requests)
        for id, instance in zip(ids, requests, strict=True):
            decoding = Decoding.of(self._generation(instance))
            waiting = _Waiting(id, self._builder(instance, decoding))
            drawn.setdefault((decoding.temperature, decoding.top_p), []).append(waiting)
        found: dict[str, Response] = {}
        for (temperature, top_p), group in drawn.items():
            found |= self._answers(group, temperature, top_p)
        return [_result(found.get(id)) for id in ids]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """The summed loss of each continuation, and whether greedy decoding gives it.

        A loss, not a log-likelihood: lmms-eval's own models return one, and its tasks take the
        least. Continuations of one document share its prompt's prefill. The pairs are wrapped,
        since lmms-eval 0.7.3 turns bare ones into text (`unwrap_generation_output`), which none
        of its tasks can score.
        """
        contexts: dict[tuple[Any, ...], list[str]] = {}
        for instance in requests:
            continuations = contexts.setdefault(_context(instance), [])
            if (text := self._continuation(instance)) not in continuations:
                continuations.append(text)
        waiting = []
        for number, (context, texts) in enumerate(contexts.items()):
            longest = max(len(text.encode()) for text in texts) + SPARE_BYTES
            waiting.append(_Waiting(f"rank/{number}", self._ranking(context, texts, 1)))
            waiting.append(_Waiting(f"greedy/{number}", self._ranking(context, (), longest)))
        found = self._answers(waiting, 0.0, 1.0)
        numbers = {context: number for number, context in enumerate(contexts)}
        losses = []
        for instance in requests:
            number, text = numbers[_context(instance)], self._continuation(instance)
            ranked, greedy = found.get(f"rank/{number}"), found.get(f"greedy/{number}")
            index = contexts[_context(instance)].index(text)
            pair = (_loss(ranked, index), _text(greedy) == text)
            losses.append(GenerationResult(pair))
        return losses

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        raise NotImplementedError("vlmbench answers one round: multi-round tasks cannot be run")

    def clean(self) -> None:
        """Called when everything is answered, before judges are loaded."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        super().clean()

    def _answers(
        self, waiting: Iterable[_Waiting], temperature: float, top_p: float
    ) -> dict[str, Response]:
        found: dict[str, Response] = {}

        def built() -> Iterator[Request]:
            for one in waiting:
                try:
                    yield one.build(one.id)
                except Exception as error:  # the sample boundary; the document's code is a task's
                    logger.error(f"vlmbench: request {one.id}: {type(error).__name__}: {error}")

        for response in self._open(temperature, top_p).generate(built()):
            found[response.id] = response
            if response.text is None:
                logger.error(f"vlmbench: request {response.id}: {response.error}")
        return found

    def _open(self, temperature: float, top_p: float) -> Backend:
        """The backend, opened again where settings change: a backend samples all answers alike."""
        settings = self._settings | ({"temperature": temperature} if temperature else {})
        settings |= {"top_p": top_p} if top_p < 1 else {}
        if self._backend is None or self._opened != settings:
            if self._backend is not None:
                self._backend.close()
            self._backend, self._opened = registry.open_backend(self._spec, **settings), settings
        return self._backend

    def _builder(self, instance: Instance, decoding: Decoding) -> Callable[[str], Request]:
        def build(id: str) -> Request:
            return Request(
                id=id,
                image_group=id,
                messages=self._messages(instance),
                max_new_tokens=decoding.max_new_tokens,
                stop=decoding.stop,
            )

        return build

    def _ranking(
        self, context: tuple[Any, ...], candidates: Sequence[str], max_new_tokens: int
    ) -> Callable[[str], Request]:
        text, key = context

        def build(id: str) -> Request:
            return Request(
                id=id,
                image_group=id,
                messages=(user_turn(text, self._pictures.of(key)),),
                max_new_tokens=max_new_tokens,
                candidates=tuple(candidates),
            )

        return build

    def _continuation(self, instance: Instance) -> str:
        """The continuation without its delimiter: the backend puts one space before it."""
        _, target, _, document, task, split = instance.args
        text = target(self._document(task, split, document)) if callable(target) else target
        return str(text).strip()

    def _document(self, task: str, split: str, document: int) -> Any:
        return self.task_dict[task][split][document]

    def _generation(self, instance: Instance) -> Mapping[str, Any]:
        raise NotImplementedError

    def _messages(self, instance: Instance) -> tuple[Message, ...]:
        raise NotImplementedError

    def _visuals(self, key: tuple[Any, ...]) -> Sequence[Any]:
        show, document, task, split = key
        return _flat(show(self._document(task, split, document)))


class VlmbenchSimple(_Vlmbench):
    """The simple model; a request is `(context, settings, visuals, document, task, split)`."""

    is_simple = True

    def _generation(self, instance: Instance) -> Mapping[str, Any]:
        given: Mapping[str, Any] = instance.args[1]
        return given

    def _messages(self, instance: Instance) -> tuple[Message, ...]:
        context, _, *key = instance.args
        return (user_turn(context, self._pictures.of(tuple(key))),)


class VlmbenchChat(_Vlmbench):
    """The chat model; a request is `(context, messages, settings, document, task, split)`."""

    is_simple = False

    def _generation(self, instance: Instance) -> Mapping[str, Any]:
        given: Mapping[str, Any] = instance.args[2]
        return given

    def _messages(self, instance: Instance) -> tuple[Message, ...]:
        _, converse, _, document, task, split = instance.args
        chat = converse(self._document(task, split, document))
        return messages_of(chat, self._pictures.of((_Shows(converse), document, task, split)))


@dataclass(frozen=True, slots=True)
class _Shows:
    """Maps a document to the pictures of its chat."""

    converse: Callable[[Any], Sequence[Mapping[str, Any]]]

    def __call__(self, document: Any) -> list[Any]:
        return visuals_of(self.converse(document))


def _ids(requests: Sequence[Instance]) -> list[str]:
    """Request ids, numbered where a document repeats; they seed sampling, alike on every rank."""
    times: Counter[str] = Counter()
    ids = []
    for instance in requests:
        name = f"{instance.task_name}/{instance.doc_id}"
        ids.append(f"{name}/{times[name]}")
        times[name] += 1
    return ids


def _context(instance: Instance) -> tuple[Any, ...]:
    text, _, *key = instance.args
    return text, tuple(key)


def _flat(visuals: Any) -> list[Any]:
    """The visuals as a flat list: a task may give None, one visual, or nested lists."""
    if not isinstance(visuals, list | tuple):
        return [] if visuals is None else [visuals]
    return [visual for part in visuals for visual in _flat(part)]


def _result(response: Response | None) -> GenerationResult:
    if response is None or response.text is None:
        return GenerationResult("")
    counts = TokenCounts(
        input_tokens=response.prompt_tokens, output_tokens=response.generated_tokens
    )
    return GenerationResult(response.text, counts)


def _loss(ranked: Response | None, index: int) -> float:
    if ranked is None or ranked.text is None:
        return float("inf")
    if not ranked.log_likelihoods:
        raise NotImplementedError("this backend ranks choices and gives no log-likelihoods")
    return -ranked.log_likelihoods[index]


def _text(response: Response | None) -> str | None:
    return None if response is None or response.text is None else response.text.strip()

"""What the backend makes of its engine: each picture once, a record for all that goes wrong."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import idefics2
from idefics2.engine.model_runner import ModelRunner
from idefics2.generate import Sampling, generate
from vlmbench.backends.registry import forecast as registry_forecast
from vlmbench.backends.registry import identity, open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Picture, Request, Response

END_ID = 261  # of <end_of_utterance>
Opened = Callable[..., Any]
Ask = Callable[..., Request]


def answers(backend: Any, requests: Sequence[Request]) -> dict[str, Response]:
    found = {response.id: response for response in backend.generate(iter(requests))}
    assert set(found) == {request.id for request in requests}
    return found


@dataclass
class Watched(Picture):
    """A picture that counts how often it is decoded."""

    file: Any
    decoded: list[str] = field(default_factory=list)

    def encoded(self) -> bytes:
        content: bytes = self.file.encoded()
        return content

    def decode(self) -> Any:
        self.decoded.append(threading.current_thread().name)
        return self.file.decode()


def test_answers_are_those_of_the_plain_generate(opened: Opened, asked: list[Request]) -> None:
    backend = opened("idefics2")
    model, processor = backend._model, backend._processor
    found = answers(backend, asked)
    generated = [r for r in asked if not (r.candidates or r.answer_prefix)]
    assert len(generated) > 4
    for request in generated:
        messages = [
            idefics2.Message(
                message.role,
                tuple(p if isinstance(p, str) else p.decode() for p in message.content),
            )
            for message in request.messages
        ]
        sampling = Sampling(
            max_new_tokens=request.max_new_tokens,
            stop_ids=processor.stop_ids,
            bad_ids=processor.bad_ids,
        )
        [answer] = generate(model, [processor.chat(messages)], sampling, processor.decode)
        assert found[request.id].text == answer.text
        assert found[request.id].finish_reason == answer.finish_reason


def test_each_picture_is_decoded_once_off_the_device_thread(
    opened: Opened, ask: Ask, picture: Any
) -> None:
    files = [Watched(picture(40 + n, 30, n)) for n in range(4)]
    requests = [
        ask(f"{n} {number}", file, f"What {number}?")
        for n, file in enumerate(files)
        for number in range(5)
    ]
    backend = opened("idefics2")
    answers(backend, random.Random(0).sample(requests, len(requests)))
    assert [len(file.decoded) for file in files] == [1] * 4
    assert threading.current_thread().name not in {name for f in files for name in f.decoded}
    work = backend.probe().work
    assert (work["num_crops_encoded"], work["num_crops_requested"]) == (4, 20)
    assert work["num_prefill_tokens"] < work["num_prompt_tokens"]
    assert work["num_requests"] == 20


def test_pictures_are_not_all_in_memory_at_once(opened: Opened, ask: Ask, picture: Any) -> None:
    """Decoded ahead no further than the limit of patches allows, while answers come."""
    files = [Watched(picture(56, 56, n)) for n in range(40)]
    backend = opened("idefics2", batch_size=1)
    limits = replace(
        backend._engine._limits, patches=196, waiting_patches=4 * 196, prefill_tokens=1
    )
    backend._engine._limits = limits
    given = backend.generate(iter([ask(str(n), file, "What?") for n, file in enumerate(files)]))
    next(given)
    assert sum(bool(file.decoded) for file in files) < 20
    given.close()


def test_requests_are_taken_lazily(opened: Opened, ask: Ask) -> None:
    num_read = 0

    def requests() -> Iterator[Request]:
        nonlocal num_read
        for number in range(100_000):
            num_read += 1
            yield ask(str(number), "What?")

    given = opened("idefics2").generate(requests())
    next(given)
    given.close()
    assert num_read < 5_000


@pytest.mark.parametrize("bad", [40, END_ID], ids=["a word", "the token that ends an answer"])
def test_logits_that_are_no_numbers_are_a_record(
    tiny: Path, asked: list[Request], bad: int
) -> None:
    """Also where not a single token comes of them."""
    backend: Any = open_backend(f"idefics2:{tiny}", device="cpu")
    with torch.no_grad():
        backend._model.lm_head.weight[bad] = float("nan")
    for response in answers(backend, asked).values():
        assert (response.text, response.finish_reason) == (None, "error")
        assert response.error.startswith("FloatingPointError: the model's logits are not numbers")


def test_out_of_memory_is_tried_again_with_less_and_told(
    opened: Opened, asked: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {id: response.text for id, response in answers(opened("idefics2"), asked).items()}
    backend, prefill = opened("idefics2"), ModelRunner.prefill

    def little(self: ModelRunner, batch: Any, *others: Any) -> Any:
        if len(batch.starts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if len(batch.ids) > 150:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")
        return prefill(self, batch, *others)

    monkeypatch.setattr(ModelRunner, "prefill", little)
    long = replace(
        asked[0], id="endless", messages=(replace(asked[0].messages[-1], content=("a" * 200,)),)
    )
    found = answers(backend, [*asked, long])
    failed = found.pop("endless")
    assert failed.error.startswith("OutOfMemoryError: CUDA out of memory")
    assert failed.attempt > 1
    assert {id: response.text for id, response in found.items()} == expected
    assert max(response.attempt for response in found.values()) > 1
    assert "prefill" in " ".join(backend.probe().work["shortages"])


def test_deterministic_answers_do_not_depend_on_company(
    opened: Opened, asked: list[Request]
) -> None:
    backend = opened("idefics2", deterministic=True)
    together = answers(backend, asked)
    for request in asked:
        alone = answers(backend, [request])[request.id]
        assert alone.text == together[request.id].text
    assert backend.probe().settings["deterministic"] is True


@pytest.mark.parametrize("split", [False, True])
def test_dropped_visual_tokens_are_not_in_the_prompt_and_the_others_are_as_encoded(
    tiny: Path, ask: Ask, picture: Any, split: bool
) -> None:
    """The same picture twice and another one, against a forward pass over the kept tokens."""
    settings = {"device": "cpu", "split_images": split, "keep_visual_tokens": 0.67}
    backend: Any = open_backend(f"idefics2:{tiny}", **settings)
    model, processor = backend._model, backend._processor
    content = (picture(50, 33, 1), "and ", picture(30, 60, 2), "and ", picture(50, 33, 1), "what?")
    request = ask("1", *content, max_new_tokens=5)
    [response] = backend.generate([request])
    num_crops = 15 if split else 3
    assert response.visual_tokens == 2 * num_crops, "of three latents a crop"
    asked = backend._prompts.prepare(request).request
    parts = []
    for image in asked.images:
        packed = image.load()
        latents = model.encode_images(packed.patches_PK, packed.grid_I2)
        parts += [crop[list(kept)] for crop, kept in zip(latents, image.kept, strict=True)]
    ids, barred = list(asked.ids), [id for (id,) in processor.bad_ids]
    with torch.inference_mode():
        for _ in range(5):
            states_BTD = model.hidden_states(torch.tensor([ids]), visual=torch.cat(parts))
            logits_V = model.lm_head(states_BTD[0, -1])
            logits_V[barred] = -torch.inf
            ids.append(int(logits_V.argmax()))
            if ids[-1] in processor.stop_ids:
                break
    new = [id for id in ids[len(asked.ids) :] if id not in processor.stop_ids]
    assert response.text == processor.decode(new)
    forecast = registry_forecast(f"idefics2:{tiny}", settings)
    assert forecast is not None
    sizes = [(50, 33), (30, 60), (50, 33)]
    assert forecast.visual_tokens(sizes) == response.visual_tokens


def test_a_run_with_dropped_visual_tokens_is_not_resumed_as_another(tiny: Path) -> None:
    model = f"idefics2:{tiny}"
    assert identity(model, {"keep_visual_tokens": 0.5}) != identity(model, {})
    assert identity(model, {"keep_visual_tokens": 1.0}) == identity(model, {})


def test_a_deterministic_run_is_not_resumed_as_another(tiny: Path) -> None:
    model = f"idefics2:{tiny}"
    assert identity(model, {"deterministic": True}) != identity(model, {})
    assert identity(model, {"cache_gib": 2.0, "batch_size": 3}) == identity(model, {})


def test_a_cache_with_no_room_is_a_mistake(tiny: Path) -> None:
    with pytest.raises(VlmbenchError, match="cache_gib 1e-06 is too little: cache_tokens must be"):
        open_backend(f"idefics2:{tiny}", device="cpu", cache_gib=1e-6)


def test_a_prompt_that_the_cache_cannot_hold_is_a_record(tiny: Path, ask: Ask) -> None:
    backend = open_backend(f"idefics2:{tiny}", device="cpu", cache_gib=2e-4)
    found = answers(backend, [ask("long", "why? " * 50), ask("short", "why?")])
    assert "give the engine more memory" in found["long"].error
    assert found["short"].text is not None
    backend.close()


def test_eight_bit_weights_are_part_of_what_a_run_is(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"idefics2:{tiny}"
    assert identity(model, {"quantize": "int8"}) != identity(model, {})
    with pytest.raises(VlmbenchError, match="quantize"):
        open_backend(model, device="cpu", quantize="int3")
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(VlmbenchError, match="int8 weights need torchao: pip install torchao"):
        open_backend(model, device="cpu", quantize="int8")


def test_a_loaded_checkpoint_answers_with_eight_bit_weights(
    tiny: Path, ask: Callable[..., Request], picture: Callable[..., Any]
) -> None:
    pytest.importorskip("torchao", reason="torchao is not installed")
    backend = open_backend(f"idefics2:{tiny}", device="cpu", quantize="int8")
    [response] = backend.generate([ask("one", picture(50, 33, 2), "Which is it?")])
    assert (response.error, response.visual_tokens) == ("", 3)
    assert backend.probe().settings["quantize"] == "int8"

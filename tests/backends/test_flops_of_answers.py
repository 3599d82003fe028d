"""The work that a response tells, against torch's own count of the plain forward passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import idefics2
from idefics2.generate import Sampling, generate
from vlmbench.schema import Request


@pytest.mark.parametrize("ending", ["length", "stop id", "stop string"])
@pytest.mark.parametrize("split", [False, True])
def test_work_of_an_answer_is_torchs_count(
    opened: Callable[..., Any],
    ask: Callable[..., Request],
    picture: Any,
    ending: str,
    split: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine computes less where prompts share pictures, and rounds keys up to pages."""
    monkeypatch.setattr("idefics2.onednn.prefers_onednn", lambda: False)  # torch counts its own
    backend = opened("idefics2", split_images=split)
    model, processor = backend._model.requires_grad_(False), backend._processor
    pieces = (picture(50, 33), "what?", picture(40, 40))
    content = [p if isinstance(p, str) else p.decode() for p in pieces]
    prompt = processor.chat([idefics2.Message("user", tuple(content))])
    sampling = Sampling(max_new_tokens=6, stop_ids=processor.stop_ids, bad_ids=processor.bad_ids)
    [plain] = generate(model, [prompt], sampling, processor.decode)
    assert plain.finish_reason == "length" and plain.text is not None
    request = ask("1", *pieces)
    if ending == "stop string":
        sampling = replace(sampling, stop_strings=(plain.text[1:],))
        request = replace(request, stop=sampling.stop_strings)
    if ending == "stop id":
        sampling = replace(sampling, stop_ids=(plain.ids[-1],))
        backend._prompts._processor = backend._processor = replace(
            processor, stop_ids=sampling.stop_ids
        )
    # the CPU's fused attention is no operation that torch counts: it is taken apart
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        [counted] = generate(model, [prompt], sampling, processor.decode)
    [response] = backend.generate([request])
    assert (response.text, response.error) == (counted.text, "")
    assert response.finish_reason == ("length" if ending == "length" else "stop")
    assert response.flops == counter.get_total_flops() > 0

"""What the two backends that run a model themselves have in common, on one tiny checkpoint."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vlmbench.backends.registry import open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request, Response

END_ID = 261  # of <end_of_utterance>
NAMES = ("idefics2", "transformers")
both = pytest.mark.parametrize("name", NAMES)
Opened = Callable[..., Any]
Ask = Callable[..., Request]


def answers(backend: Any, requests: Sequence[Request]) -> dict[str, Response]:
    found = {response.id: response for response in backend.generate(requests)}
    assert set(found) == {request.id for request in requests}
    return found


def said(responses: dict[str, Response]) -> dict[str, tuple[object, ...]]:
    """All but times and attempts."""
    return {
        id: (
            *(response.text, response.finish_reason, response.error, response.visual_tokens),
            *(response.prompt_tokens, response.generated_tokens),
        )
        for id, response in responses.items()
    }


@pytest.fixture(scope="module")
def alone(opened: Opened, asked: list[Request]) -> dict[str, dict[str, tuple[object, ...]]]:
    """Each backend's answers to one request at a time."""
    return {name: said(answers(opened(name, batch_size=1), asked)) for name in NAMES}


def test_both_backends_give_the_same_answers(
    alone: dict[str, dict[str, tuple[object, ...]]],
) -> None:
    """One folder, our model and transformers': texts, why they end, and all counts of tokens."""
    ours, theirs = alone["idefics2"], alone["transformers"]
    assert ours == theirs
    assert not any(error for _, _, error, *_ in ours.values())
    assert len({text for text, *_ in ours.values()}) > 6
    assert {reason for _, reason, *_ in ours.values()} >= {"length", "choice"}
    assert [ours[id][3] for id in ("one", "blind", "two", "shot")] == [3, 0, 6, 6]


@both
@pytest.mark.parametrize("batch_size", [3, 16])
def test_answers_depend_on_neither_batch_nor_order(
    name: str,
    batch_size: int,
    opened: Opened,
    asked: list[Request],
    alone: dict[str, dict[str, tuple[object, ...]]],
) -> None:
    shuffled = random.Random(batch_size).sample(asked, len(asked))
    assert said(answers(opened(name, batch_size=batch_size), shuffled)) == alone[name]


@both
def test_sampling_is_seeded_by_request(name: str, opened: Opened, asked: list[Request]) -> None:
    def sampled(requests: Sequence[Request], **settings: Any) -> dict[str, str | None]:
        backend = opened(name, temperature=1.0, **settings)
        return {id: response.text for id, response in answers(backend, requests).items()}

    generated = [request for request in asked if not request.candidates]
    first = sampled(generated, batch_size=8)
    assert sampled(generated[::-1], batch_size=3) == first
    assert sampled(generated, batch_size=8, seed=1) != first
    twins = [replace(generated[0], id=id) for id in ("a", "b", "c")]
    assert len(set(sampled(twins, batch_size=4).values())) > 1
    assert sampled(generated, top_p=1e-6) == {
        id: response.text for id, response in answers(opened(name), generated).items()
    }


def test_both_backends_draw_alike(opened: Opened, asked: list[Request]) -> None:
    generated = [request for request in asked if not request.candidates]
    settings = {"temperature": 0.8, "top_p": 0.7, "seed": 3}
    ours, theirs = (said(answers(opened(name, **settings), generated)) for name in NAMES)
    assert ours == theirs


@both
def test_stop_strings_cut_the_answer(name: str, opened: Opened, ask: Ask, picture: Any) -> None:
    """Each letter of the free answer in turn; of two, the one that stands first."""
    shown = picture(50, 33, 11)
    backend = opened(name)
    free = answers(backend, [ask("free", shown, "What?", max_new_tokens=12)])["free"].text
    assert free
    letters = [letter for letter in dict.fromkeys(free) if letter != "\ufffd"]
    assert len(letters) > 1
    stopped = [ask(letter, shown, "What?", max_new_tokens=12, stop=(letter,)) for letter in letters]
    pair = ask("pair", shown, "What?", max_new_tokens=12, stop=(letters[1], letters[0]))
    found = answers(backend, [*stopped, pair])
    for letter in letters:
        assert found[letter].text == free[: free.index(letter)]
        assert found[letter].finish_reason == "stop"
    assert found["pair"].text == free[: free.index(letters[0])]


@both
def test_bad_words_do_not_come(name: str, opened: Opened, ask: Ask, picture: Any) -> None:
    shown = picture(50, 33, 11)
    backend = opened(name)
    free = answers(backend, [ask("free", shown, "What?", max_new_tokens=12)])["free"].text
    assert free
    letter = next(letter for letter in free if letter != "\ufffd")
    words = (letter, "<image>", "</s>")
    barred = answers(backend, [ask("barred", shown, "What?", max_new_tokens=12, bad_words=words)])
    text = barred["barred"].text
    assert text is not None
    assert letter not in text
    assert text[: free.index(letter)] == free[: free.index(letter)]


@both
def test_candidates_are_ranked_and_the_first_of_equals_wins(
    name: str, opened: Opened, ask: Ask, picture: Any
) -> None:
    requests = [
        ask(f"{seed}", picture(50, 33, seed), "Which?", candidates=tuple("ABCDEFGH"))
        for seed in range(6)
    ]
    backend = opened(name, batch_size=3)
    found = answers(backend, requests)
    assert {response.finish_reason for response in found.values()} == {"choice"}
    assert len({response.text for response in found.values()}) > 1, "pictures do not matter"
    for request in requests:
        best = found[request.id].text
        others = tuple(letter for letter in "HGFEDCBA" if letter != best)
        again = replace(request, candidates=(*others, str(best), str(best)))
        assert answers(backend, [again])[request.id].text == best
        without = answers(backend, [replace(request, candidates=others)])[request.id].text
        assert without in others


def test_a_candidate_counts_with_the_token_that_ends_it(
    opened: Opened, ask: Ask, picture: Any
) -> None:
    """The score is that of " A<end_of_utterance>" after the prompt, as in the authors' code."""
    from idefics2.generate import log_likelihoods

    shown = picture(50, 33, 1)
    request = ask("1", shown, "Which?", answer_prefix="Answer:", candidates=("A", "B", "C"))
    backend = opened("idefics2")
    prompt = backend._processor.from_markup(
        "User:<image>Which?<end_of_utterance>\nAssistant: Answer:", [shown.decode()]
    )
    encode = backend._processor.tokens.encode
    answers_ids = [(*encode([f" {text}"])[1:], END_ID) for text in "ABC"]
    scores = dict(zip("ABC", log_likelihoods(backend._model, prompt, answers_ids), strict=True))
    best = max(scores, key=lambda text: scores[text])
    for name in NAMES:
        response = answers(opened(name), [request])["1"]
        assert response.text == best
        assert response.prompt_tokens == len(prompt.ids)


@both
def test_a_bad_sample_is_a_record_and_the_rest_go_on(
    name: str, opened: Opened, ask: Ask, asked: list[Request], broken_picture: Any, picture: Any
) -> None:
    letters = {"candidates": ("A", "B")}
    bad = [
        ask("broken", broken_picture, "What?"),
        ask("too long", picture(24, 24), "why? " * 100),
        ask("too long to choose", picture(24, 24), "why? " * 100, **letters),
    ]
    backend = opened(name, batch_size=4)
    mixed = [item for pair in itertools.zip_longest(asked, bad) for item in pair if item]
    found = answers(backend, mixed)
    assert "ValueError: the picture cannot be decoded" in found["broken"].error
    for id in ("too long", "too long to choose"):
        assert found[id].error.startswith("ValueError: the prompt")
        assert "context of 400" in found[id].error
    for item in bad:
        assert (found[item.id].text, found[item.id].finish_reason) == (None, "error")
    assert not any(found[item.id].error for item in asked)


@both
def test_an_answer_ends_with_the_context(name: str, opened: Opened, ask: Ask, picture: Any) -> None:
    """More new tokens than there is room for are no error: the answer is cut off there."""
    requests = [ask(str(n), picture(24, 24), "x" * n, max_new_tokens=1000) for n in (340, 345, 350)]
    found = answers(opened(name, batch_size=3), requests)
    for response in found.values():
        assert response.prompt_tokens is not None and response.generated_tokens is not None
        if response.finish_reason == "length":
            assert response.prompt_tokens + response.generated_tokens == 400
    assert "length" in {response.finish_reason for response in found.values()}


@both
def test_logits_that_are_no_numbers_are_a_record(
    name: str, tiny: Path, tmp_path: Path, asked: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = open_backend(f"{name}:{tiny}", device="cpu")
    with torch.no_grad():
        backend._model.lm_head.weight[40] = float("nan")
    found = answers(backend, asked)
    errors = {response.error for response in found.values()}
    assert len(errors) == 1
    assert errors.pop().startswith("FloatingPointError: the model's logits are not numbers")


def test_out_of_memory_halves_the_batch(
    opened: Opened,
    asked: list[Request],
    alone: dict[str, dict[str, tuple[object, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = opened("transformers", batch_size=8)
    answer = backend.answer

    def limited(batch: Any) -> Any:
        rows = batch.prompts if hasattr(batch, "prompts") else batch
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if "tall" in str(rows):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return answer(batch)

    monkeypatch.setattr(backend, "answer", limited)
    found = answers(backend, asked)
    failed = found.pop("tall")
    assert failed.error.startswith("OutOfMemoryError: CUDA out of memory")
    assert failed.attempt > 1
    expected = dict(alone["transformers"])
    del expected["tall"]
    assert said(found) == expected


@both
def test_times_are_told(name: str, opened: Opened, asked: list[Request]) -> None:
    for id, response in answers(opened(name, batch_size=4), asked).items():
        times = response.timings
        assert times.queue_s is not None and times.queue_s >= 0
        assert times.preprocess_s and times.total_s
        assert times.preprocess_s < times.total_s
        if response.finish_reason != "choice":
            assert times.prefill_s and times.first_token_s, id
            assert times.decode_s is not None
            assert times.prefill_s < times.first_token_s < times.total_s


@both
def test_splitting_is_the_checkpoints_own_unless_set(
    name: str, opened: Opened, ask: Ask, picture: Any
) -> None:
    request = ask("1", picture(50, 33), "What?")
    counts = [
        answers(opened(name, split_images=split), [request])["1"].visual_tokens
        for split in (None, False, True)
    ]
    assert counts == [3, 3, 15]


@both
def test_the_probe_names_model_weights_and_settings(name: str, tiny: Path, opened: Opened) -> None:
    probe = opened(name, batch_size=2, temperature=0.5, seed=7).probe()
    assert probe.model == f"{name}:{tiny}"
    assert (probe.device, probe.dtype, probe.revision) == ("cpu", "float32", "")
    assert probe.peak_device_memory_bytes is None
    assert probe.num_parameters > 100_000
    assert probe.weights_digest == opened("idefics2").probe().weights_digest
    expected = {"split_images": False, "temperature": 0.5, "top_p": 1.0, "seed": 7, "batch_size": 2}
    assert expected.items() <= probe.settings.items()
    json.dumps(dict(probe.settings))


@both
def test_a_base_model_continues_one_text(
    name: str, tiny: Path, tmp_path: Path, ask: Ask, picture: Any
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "base"))
    (folder / "chat_template.jinja").unlink()
    turns = (Message(role="user", content=("Hi.",)), Message(role="assistant", content=("Yes?",)))
    first, second = picture(30, 30, 1), picture(20, 40, 2)
    pieces = ("Image:", first, " Question: what? Answer: a dog\nImage:", second, " Question: how?")
    requests = [
        ask("shots", *pieces, answer_prefix="Answer:"),
        ask("choice", *pieces, answer_prefix="Answer:", candidates=("A", "B")),
        ask("turns", "And now?", turns=turns),
    ]
    backend: Any = open_backend(f"{name}:{folder}", device="cpu")
    found = answers(backend, requests)
    written = "".join(piece if isinstance(piece, str) else "#" * 5 for piece in pieces) + " Answer:"
    assert found["shots"].prompt_tokens == found["choice"].prompt_tokens == 1 + len(written)
    assert found["shots"].text is not None
    assert found["choice"].text in ("A", "B")
    assert "no chat template" in found["turns"].error
    backend.close()


@both
@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        ("folder", "no folder '.*/none'; a checkpoint on the hub is OWNER/NAME"),
        ("config", "copy is no checkpoint's folder: it has no config.json"),
        ("kind", "bert"),
        ("tokenizer", "tokenizer"),
        ("weights", r"model\*?\.safetensors"),
        ("tensor", "lack"),
        ("shape", "lm_head.weight|mismatch"),
        ("cut", "."),
        ("device", "no device 'tpu:9'"),
    ],
)
def test_a_mistake_at_opening_is_one_line(
    name: str, breakage: str, message: str, tiny: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny, tmp_path / "copy"))
    weights = folder / "model.safetensors"
    settings: dict[str, Any] = {"device": "cpu"}
    match breakage:
        case "folder":
            folder = folder / "none"
        case "config":
            (folder / "config.json").unlink()
        case "kind":
            (folder / "config.json").write_text('{"model_type": "bert"}')
        case "tokenizer":
            (folder / "tokenizer.json").unlink()
        case "weights":
            weights.unlink()
        case "tensor":
            tensors = load_file(weights)
            del tensors["lm_head.weight"]
            save_file(tensors, weights, metadata={"format": "pt"})
        case "shape":
            tensors = load_file(weights)
            tensors["lm_head.weight"] = tensors["lm_head.weight"][:-1].clone()
            save_file(tensors, weights, metadata={"format": "pt"})
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-1000])
        case "device":
            settings["device"] = "tpu:9"
    with pytest.raises(VlmbenchError, match=message) as raised:
        open_backend(f"{name}:{folder}", **settings)
    assert "\n" not in str(raised.value)


@both
def test_closing_the_answers_leaves_no_thread(
    name: str, opened: Opened, asked: list[Request]
) -> None:
    before = threading.active_count()
    given = opened(name, batch_size=1).generate(iter(asked))
    next(given)
    given.close()
    assert threading.active_count() == before

"""Packed rows against separate sequences: logits, gradients, and which tokens count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from idefics2.chat import Message
from idefics2.checkpoint import Checkpoint, load
from idefics2.train import Answers, Conversation, Document, Sample, Turn
from idefics2.train.examples import Example, Segment
from idefics2.train.objectives import AnswerLoss
from idefics2.train.packed import Row

Draw = Callable[..., Image.Image]
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-5}
"""Sums of float32 in another order."""


def examples_of(checkpoint: Checkpoint, samples: Sequence[Sample]) -> list[Example]:
    reader = Answers(max_tokens=200).reader(checkpoint.processor, 0)
    return [reader.encode(sample, index) for index, sample in enumerate(samples)]


def row_of(checkpoint: Checkpoint, examples: Sequence[Example]) -> Row:
    row = Answers(max_tokens=200).reader(checkpoint.processor, 0).collate(examples)
    assert isinstance(row, Row)
    return row


def samples_of(picture: Draw) -> list[Sample]:
    first, second = picture(16, 12, 1), picture(24, 8, 2)
    return [
        Conversation(turns=(Turn((first, "what?"), "a cat"), Turn(("and\nwhere?",), "here"))),
        Conversation(
            turns=(Turn(("one?",), "1"), Turn(("and the second one?",), "two"), Turn((), "x y")),
            shared=(second,),
            layout="independent",
        ),
        Conversation(turns=(Turn(("no picture",), "none"),)),
        Document(content=("before", second, "between", first, "after")),
        Conversation(turns=(Turn(("yes?", second, "or", first), "no"),), layout="dialogue"),
    ]


def assert_rows_are_separate(checkpoint: Checkpoint, examples: Sequence[Example]) -> None:
    """Each example of one row has the logits that it has alone."""
    row = replace(
        row_of(checkpoint, examples), from_A=torch.arange(sum(e.num_tokens for e in examples))
    )
    with torch.no_grad():
        packed_TV = checkpoint.model.lm_head(AnswerLoss(checkpoint.model).hidden_states(row))
        place = 0
        for example in examples:
            alone = separate_logits(checkpoint, example)
            for offset in range(example.num_tokens):
                torch.testing.assert_close(packed_TV[place + offset], alone[offset], **CLOSE)
            place += example.num_tokens


def separate_logits(checkpoint: Checkpoint, example: Example) -> dict[int, Tensor]:
    """Logits at each place of the example, each sequence run alone by the model's own forward."""
    found: dict[int, Tensor] = {}
    places_of: list[list[int]] = []
    start = 0
    model = checkpoint.model
    patches_PK, grid_I2 = torch.from_numpy(example.patches_PK), torch.tensor(example.grid)
    visual = model.encode_images(patches_PK, grid_I2) if example.grid else None
    for segment in example.segments:
        above = places_of[segment.parent] if segment.parent is not None else []
        places_of.append([*above, *range(start, start + segment.length)])
        start += segment.length
        ids_BT = torch.tensor([[example.ids[place] for place in places_of[-1]]])
        logits_BTV = model(ids_BT, visual=visual)
        found |= dict(zip(places_of[-1], logits_BTV[0], strict=True))
    return found


@pytest.mark.parametrize("window", [None, 7])
def test_packed_logits_equal_those_of_separate_sequences(
    start_folder: Any, picture: Draw, window: int | None
) -> None:
    checkpoint = load(start_folder)
    text = replace(checkpoint.model.config.text, sliding_window=window)
    config = replace(checkpoint.model.config, text=text)
    checkpoint.model.config = config
    checkpoint = Checkpoint(checkpoint.model, replace(checkpoint.processor, config=config))
    assert_rows_are_separate(checkpoint, examples_of(checkpoint, samples_of(picture)))


def test_gradients_of_a_row_are_the_sum_of_those_of_its_examples(
    checkpoint: Checkpoint, picture: Draw
) -> None:
    examples = examples_of(checkpoint, samples_of(picture))
    module = AnswerLoss(checkpoint.model)
    module(row_of(checkpoint, examples)).total.backward()
    together = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    for example in examples:
        module(row_of(checkpoint, [example])).total.backward()
    assert len(together) == len(list(module.named_parameters()))
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, together[name], rtol=1e-3, atol=1e-3)


def test_an_independent_question_is_the_prompt_that_is_asked_alone(
    checkpoint: Checkpoint, picture: Draw
) -> None:
    shared = picture(24, 8, 2)
    turns = (Turn(("one?",), "1"), Turn(("and the second?",), "two"))
    sample = Conversation(turns=turns, shared=(shared,), layout="independent")
    (example,) = examples_of(checkpoint, [sample])
    root, *children = example.segments
    start = root.length
    for turn, child in zip(turns, children, strict=True):
        ids = example.ids[: root.length] + example.ids[start : start + child.length]
        message = Message("user", (shared, *turn.content))
        asked = checkpoint.processor.chat([message]).ids
        answer = checkpoint.processor.tokens.encode([" " + turn.answer])[1:]
        end = checkpoint.processor.tokens.special["<end_of_utterance>"]
        assert ids == (*asked, *answer, end)
        start += child.length
    assert len(example.grid) == 1, "one picture, however many questions"


def test_the_loss_counts_answers_and_their_end_and_nothing_else(
    checkpoint: Checkpoint, picture: Draw
) -> None:
    samples = samples_of(picture)
    expected = [
        " a cat| here|",
        " 1| two| x y|",
        " none|",
        "beforebetweenafter$",
        " no|",
    ]
    names = {5: "|", 2: "$"}
    for example, text in zip(examples_of(checkpoint, samples), expected, strict=True):
        counted = [t for t, w in zip(example.ids, example.weights, strict=True) if w]
        decoded = "".join(names.get(t) or checkpoint.processor.decode([t]) for t in counted)
        assert decoded == text
        row = row_of(checkpoint, [example])
        assert row.targets_A.tolist() == counted
        assert row.weight == len(counted)


def test_a_target_is_predicted_from_the_token_before_it_in_its_own_sequence(
    checkpoint: Checkpoint,
) -> None:
    turns = (Turn(("p",), "1"), Turn(("q",), "2"))
    row = row_of(
        checkpoint,
        examples_of(checkpoint, [Conversation(turns=turns, layout="independent")] * 2),
    )
    for from_place, target in zip(row.from_A.tolist(), row.targets_A.tolist(), strict=True):
        assert row.ids_T[from_place + 1] == target
    assert row.positions_T.tolist().count(0) == 2, "of four questions, two by two share a start"
    branched = Example(
        index=0,
        source="two branches of a trunk",
        ids=(1, 2, 3, 4, 5),
        weights=(0.0, 0.0, 1.0, 1.0, 1.0),
        segments=(Segment(2, None), Segment(1, 0), Segment(2, 0)),
        patches_PK=np.empty((0, 0), np.uint8),
        grid=(),
    )
    row = row_of(checkpoint, [branched])
    assert row.targets_A.tolist() == [3, 4, 5]
    assert row.from_A.tolist() == [1, 1, 3], "a branch begins behind the trunk"


def test_turn_weights_multiply_the_loss(checkpoint: Checkpoint) -> None:
    def loss(weight: float) -> Any:
        turns = (Turn(("p",), "yes", weight), Turn(("q",), "no"))
        sample = Conversation(turns=turns, layout="independent")
        return AnswerLoss(checkpoint.model)(
            row_of(checkpoint, examples_of(checkpoint, [sample]))
        ).total.item()

    assert loss(3) - loss(2) == pytest.approx(loss(2) - loss(1), rel=1e-4)
    assert loss(3) > loss(1) > loss(0) > 0


def test_in_cross_attention_a_row_equals_separate_sequences(
    start: Callable[..., Any], tmp_path: Any, picture: Draw
) -> None:
    folder = start(tmp_path, architecture="cross_attention", cross_layer_interval=1)
    checkpoint = load(folder)
    assert_rows_are_separate(checkpoint, examples_of(checkpoint, samples_of(picture)))


def test_what_does_not_fit_is_dropped_by_whole_turns_or_refused(checkpoint: Checkpoint) -> None:
    reader = Answers(max_tokens=40).reader(checkpoint.processor, 0)
    turns = (Turn(("short",), "a"), Turn(("much longer than that",), "b"))
    example = reader.encode(Conversation(turns=turns), 0)
    assert sum(map(bool, example.weights)) == 3, "space, letter and end of the first answer"
    with pytest.raises(ValueError, match="first turn of conversation exceeds 40 tokens"):
        reader.encode(Conversation(turns=(Turn(("x" * 50,), "a"),)), 0)

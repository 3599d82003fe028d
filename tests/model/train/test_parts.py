"""Augmentation, NEFTune, optimisers, schedules, adapters, mixtures, dense labels."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from idefics2.checkpoint import Checkpoint, load
from idefics2.train import (
    AdamW,
    Adapters,
    Answers,
    Augmentation,
    Conversation,
    DenseLabels,
    Document,
    LabelledPicture,
    MuonRule,
    Optimization,
    Rule,
    Schedule,
    Turn,
)
from idefics2.train.adapters import attach, choose_trained, merge
from idefics2.train.checkpoints import export
from idefics2.train.mixture import Lines, Mixture
from idefics2.train.muon import Muon, orthogonalize
from idefics2.train.objectives import AnswerLoss, neftune
from idefics2.train.optimization import Optimizers
from idefics2.train.samples import Together

Draw = Callable[..., Image.Image]


def test_augmentation_hangs_on_seed_and_number_alone(checkpoint: Checkpoint, picture: Draw) -> None:
    augmentation = Augmentation(
        upscale_share=0.5, split_share=0.5, shuffle_turns=True, max_turns=2, newline_share=0.5
    )
    turns = tuple(Turn((f"q{i}",), str(i)) for i in range(3))
    sample = Conversation(turns=turns, shared=(picture(16, 12),))

    def encoded(seed: int) -> list[Any]:
        objective = Answers(max_tokens=300, augmentation=augmentation)
        reader = objective.reader(checkpoint.processor, seed)
        return [(e.ids, e.grid) for e in (reader.encode(sample, i) for i in range(40))]

    first = encoded(0)
    assert first == encoded(0)
    assert first != encoded(1)
    assert encoded(0)[::-1] == [first[i] for i in reversed(range(40))]
    splits = sum(len(grid) == 5 for _, grid in first)
    assert 8 < splits < 32
    assert len({grid for _, grid in first if len(grid) == 1}) > 1, "some are enlarged"
    texts = [checkpoint.processor.decode(ids) for ids, _ in first]
    assert len({text[text.index("q") + 1] for text in texts}) == 3, "any turn comes first"
    assert all(text.count("Assistant") == 2 for text in texts)
    assert 10 < sum("\nq" in text.replace("\nUser", "") for text in texts) < 38


def test_enlarging_keeps_within_its_bounds(picture: Draw) -> None:
    augmentation = Augmentation(upscale_share=1.0)
    sample = Document(content=(picture(100, 50),))
    factors = []
    for seed in range(300):
        changed = augmentation.change(sample, random.Random(seed))
        assert isinstance(changed, Document)
        image = changed.content[0]
        assert isinstance(image, Image.Image)
        factors.append(image.width / 100)
    assert 1.5 <= min(factors) <= max(factors) <= 3.0
    assert np.mean(factors) == pytest.approx((1.5 + 3 + 3) / 3, abs=0.05), "triangular"


def test_neftune_noise_is_alpha_over_root_of_length_times_width(checkpoint: Checkpoint) -> None:
    samples = [
        Conversation(turns=(Turn(("q" * n,), "a"), Turn(("p",), "b")), layout="independent")
        for n in (5, 60)
    ]
    reader = Answers(max_tokens=200).reader(checkpoint.processor, 0)
    examples = [reader.encode(sample, 7 + i) for i, sample in enumerate(samples)]
    row: Any = reader.collate(examples)
    noise_TD = neftune(row, 512, 5.0, seed=0)
    limit_T = 5.0 / (row.lengths_T * 512).sqrt()
    assert (noise_TD.abs() <= limit_T[:, None]).all()
    assert noise_TD.abs().amax(1).min() > 0.9 * limit_T.min()
    torch.testing.assert_close(
        noise_TD.std(1), limit_T / 3**0.5, rtol=0.15, atol=0
    )  # 512 draws of a uniform
    lengths = row.lengths_T.tolist()
    root, first, second = examples[0].segments
    assert lengths[0] == root.length + max(first.length, second.length)
    assert lengths[examples[0].num_tokens - 1] == root.length + second.length
    swapped = neftune(reader.collate(examples[::-1]), 512, 5.0, seed=0)
    torch.testing.assert_close(
        swapped[examples[1].num_tokens :], noise_TD[: examples[0].num_tokens]
    )


def test_neftune_is_off_outside_training(checkpoint: Checkpoint) -> None:
    reader = Answers(max_tokens=200).reader(checkpoint.processor, 0)
    row: Any = reader.collate([reader.encode(Conversation(turns=(Turn(("q",), "a"),)), 0)])
    noisy, plain = AnswerLoss(checkpoint.model, 5.0), AnswerLoss(checkpoint.model)
    assert noisy.train()(row).total != plain.train()(row).total
    assert noisy.eval()(row).total == plain.eval()(row).total


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_merged_adapters_equal_unmerged(checkpoint: Checkpoint, kind: Any) -> None:
    model = checkpoint.model
    names = [name for name, _ in model.named_parameters()]
    ids_BT = torch.tensor([[1, 20, 33, 41, 27]])
    patches_PK = torch.randint(0, 256, (12, 48), dtype=torch.uint8)
    grid_I2 = torch.tensor([[3, 4]])

    def outputs() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return model(ids_BT), model.encode_images(patches_PK, grid_I2)

    before = outputs()
    attach(model, Adapters(kind=kind, rank=4, alpha=8, dropout=0.0))
    torch.testing.assert_close(outputs(), before, rtol=1e-4, atol=1e-5)
    choose_trained(model, (r"^vision_model", r"^text_model", r"^lm_head"))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained if "lora_" not in name} == {"connector"}
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    unmerged = outputs()
    assert (unmerged[0] - before[0]).abs().max() > 1e-3
    assert (unmerged[1] - before[1]).abs().max() > 1e-3
    merge(model)
    assert [name for name, _ in model.named_parameters()] == names
    torch.testing.assert_close(outputs(), unmerged, rtol=1e-3, atol=1e-4)


def test_a_trained_model_keeps_the_version_that_its_token_ids_are_of(
    checkpoint: Checkpoint, start_folder: Path, tmp_path: Path
) -> None:
    origin = Path(shutil.copytree(start_folder, tmp_path / "origin"))
    content = json.loads((origin / "config.json").read_text())
    for version, compat in (("5.23.0", "transformers>=5"), ("4.40.2", "release")):
        (origin / "config.json").write_text(json.dumps(content | {"transformers_version": version}))
        export(checkpoint.model, tmp_path / version, origin)
        assert load(origin).processor.compat == compat
        assert load(tmp_path / version).processor.compat == compat


def test_orthogonalized_matrices_have_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 16, 16), (2, 8, 40), (2, 40, 8)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape, generator=generator), 5))
        assert values.min() > 0.4 and values.max() < 1.3


def test_muon_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in ((12, 8), (12, 8), (8, 20))]
    ours = [nn.Parameter(weight.clone()) for weight in weights]
    theirs = [nn.Parameter(weight.clone()) for weight in weights]
    optimizers = [
        Muon([{"params": ours, "lr": 0.05, "weight_decay": 0.1}]),
        torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1),
    ]
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        # Theirs iterates in bfloat16; a step moves an entry by about 0.05 / sqrt(12)
        torch.testing.assert_close(mine, other, rtol=0, atol=2e-3)


def test_the_schedule_rises_stays_and_falls_to_its_floor() -> None:
    schedule = Schedule(warmup_steps=10, decay="linear", level_share=0.5, floor=0.02)
    factors = [schedule.factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:51] == [1.0] * 42
    assert factors[75] == pytest.approx(0.02 + 0.98 * 0.5)
    assert factors[99] == pytest.approx(0.02 + 0.98 * 0.02)
    cosine = Schedule(decay="cosine")
    assert cosine.factor(50, 100) == pytest.approx(0.5)
    assert Schedule(warmup_steps=4).factor(99, 100) == 1.0


def test_rules_choose_optimiser_rate_and_decay_by_name(checkpoint: Checkpoint) -> None:
    rules = (
        Rule(r"layers.*proj", MuonRule(lr=0.01, weight_decay=0.05)),
        Rule("", AdamW(lr=1e-3, weight_decay=0.1)),
    )
    named = dict(checkpoint.model.named_parameters())
    optimizers = Optimizers(named.items(), Optimization(rules=rules), 10)
    names = {id(parameter): name for name, parameter in named.items()}
    chosen = {
        names[id(parameter)]: (type(optimizer).__name__, group["lr"], group["weight_decay"])
        for optimizer in optimizers.all
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert chosen.keys() == named.keys()
    assert chosen["text_model.layers.0.mlp.up_proj.weight"] == ("Muon", 0.01, 0.05)
    assert chosen["vision_model.layers.0.self_attn.q_proj.bias"] == ("AdamW", 1e-3, 0.0)
    assert chosen["lm_head.weight"] == ("AdamW", 1e-3, 0.1)
    for name in (
        "text_model.embed_tokens.weight",
        "text_model.norm.weight",
        "vision_model.layers.1.layer_norm2.weight",
        "connector.perceiver_resampler.latents",
        "connector.perceiver_resampler.layers.0.input_context_norm.weight",
    ):
        assert chosen[name] == ("AdamW", 1e-3, 0.0), name
    with pytest.raises(ValueError, match=r"no optimiser for .*patch_embedding"):
        Optimizers(named.items(), Optimization(rules=rules[:1]), 10)


def _numbered(name: str, number: int) -> tuple[str, int]:
    return name, number


def test_a_mixture_has_its_shares_exactly_and_numbers_without_gaps() -> None:
    sources: dict[str, Callable[[int], Any]] = {
        name: partial(_numbered, name) for name in ("a", "b", "c")
    }
    mixture = Mixture(sources, {"a": 0.7, "b": 0.25, "c": 0.05})
    drawn = [mixture(index) for index in range(20_000)]
    assert Counter(name for name, _ in drawn) == {"a": 14_000, "b": 5000, "c": 1000}
    for name in sources:
        numbers = [number for found, number in drawn if found == name]
        assert numbers == list(range(len(numbers)))
    assert Counter(name for name, _ in drawn[:1000])["b"] == pytest.approx(250, abs=60)


def test_lines_of_a_file_come_once_an_epoch_in_changing_order(
    tmp_path: Path, picture: Draw
) -> None:
    picture(8, 8).save(tmp_path / "p.png")
    records: list[Any] = [{"content": [{"image": "p.png"}, f"text {i}"]} for i in range(9)]
    records.append({"turns": [{"content": ["q", {"image": "p.png"}], "answer": "a"}]})
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\n", "utf-8")
    lines = Lines.open(path, "pairs")
    epochs = [[lines.row(10 * epoch + i) for i in range(10)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1
    sample = lines(epochs[0].index(9))
    assert isinstance(sample, Conversation)
    assert sample.turns[0].answer == "a" and sample.source == "pairs"
    path.write_text('{"turns": [{"content": ["q"]}]}\n', "utf-8")
    with pytest.raises(ValueError, match=r"pairs.jsonl, sample 1: KeyError\('answer'\)"):
        Lines.open(path, "pairs")(0)
    with pytest.raises(ValueError, match=r"no file .*none.jsonl"):
        Lines.open(tmp_path / "none.jsonl", "none")


def test_a_document_is_cut_before_the_picture_that_does_not_fit(
    checkpoint: Checkpoint, picture: Draw
) -> None:
    document = Document(content=("abc", picture(), "defg", picture(), "hi"))
    whole = Answers(max_tokens=99).reader(checkpoint.processor, 0).encode(document, 0)
    assert whole.num_tokens == 1 + 3 + 5 + 4 + 5 + 2 + 1
    for length in range(2, whole.num_tokens):
        example = Answers(max_tokens=length).reader(checkpoint.processor, 0).encode(document, 0)
        assert example.num_tokens <= length
        assert example.ids == whole.ids[: example.num_tokens]
        assert example.ids.count(4) == 3 * len(example.grid)
        assert length - example.num_tokens < 5


def test_samples_together_are_one_example_of_several_sequences(
    checkpoint: Checkpoint, picture: Draw
) -> None:
    document = Document(content=(picture(), "caption"), source="pairs")
    objective = Answers(max_tokens=99, source_tokens=(("pairs", 40),))
    reader = objective.reader(checkpoint.processor, 0)
    example = reader.encode(Together((document,) * 5), 0)
    alone = reader.encode(document, 0)
    assert example.num_tokens == 2 * alone.num_tokens <= 40 < 3 * alone.num_tokens
    assert [segment.parent for segment in example.segments] == [None, None]
    assert len(example.grid) == 2 and len(example.patches_PK) == 2 * len(alone.patches_PK)


def test_dense_labels_weigh_background_and_skip_what_has_no_label(
    checkpoint: Checkpoint, picture: Draw
) -> None:
    objective = DenseLabels(num_classes=(3, 2), background_weight=0.25)
    reader = objective.reader(checkpoint.processor, 0)
    labels = np.zeros((12, 2), np.int64)
    labels[:4, 0], labels[4:6, 0], labels[0, 1] = 2, -1, 1
    example = reader.encode(LabelledPicture(picture=picture(), labels_NY=labels), 0)
    batch = reader.collate([example, example])
    assert batch.weight == 2 * (4 + 6 * 0.25 + 1 + 11 * 0.25)
    losses = objective.module(checkpoint.model, 0)(batch)
    expected = (4 + 6 * 0.25) * np.log(3) + (1 + 11 * 0.25) * np.log(2)
    assert losses.total.item() == pytest.approx(2 * expected, rel=1e-5), "heads start at zero"
    wrong = replace(LabelledPicture(picture=picture(), labels_NY=labels[:5]))
    with pytest.raises(ValueError, match=r"needs labels \(12, 2\), not \(5, 2\)"):
        reader.encode(wrong, 0)

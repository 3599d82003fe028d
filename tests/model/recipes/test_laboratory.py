"""The laboratory of the findings: what it trains, draws, labels, asks and keeps."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from idefics2.checkpoint import load
from recipes import findings
from recipes.findings import (
    arm_files,
    backbones,
    evaluation,
    labels,
    laboratory,
    models,
    scenes,
    workers,
)
from recipes.findings.arms import ARMS, REFERENCE
from recipes.findings.evaluation import Item
from recipes.findings.laboratory import Places
from recipes.findings.training import BATCH, Draw
from vlmbench.data.mini.drawing import Canvas

SIZE = models.Size(
    width=16, num_heads=2, vision_layers=1, text_layers=2, perceiver_layers=1, num_latents=4
)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Untrained backbones of a very small size, and few questions."""
    monkeypatch.setitem(models.SIZES, "least", SIZE)
    monkeypatch.setattr(evaluation, "NUM_SCENES", {"validation": 3, "test": 6})
    places = Places(tmp_path / "runs", tmp_path / "results")
    untrained = models.write_untrained(tmp_path / "untrained", SIZE.config(), seed=1)
    for part, strength in backbones.STEPS:
        backbones.keep(places.backbones, part, strength, untrained)
    return places


@pytest.mark.parametrize("name", ["ar-lora", "ca-frozen", "mlp-frozen", "native", "split-half"])
def test_an_arm_leaves_a_score_of_every_question_and_what_it_cost(
    name: str, places: Places
) -> None:
    laboratory.train_arm(name, 0, "least", 3, places)
    result = arm_files.read_all(places.arms, "least")[name, 0]
    asked = arm_files.read_questions(places.results)
    assert all(len(scores) == len(asked["test"]) for scores in result.test.values())
    assert ("split" in result.test) == ARMS[name].is_asked_split
    assert {"blank", "other"} <= result.test.keys() or name != REFERENCE
    assert result.validation[-1].step == result.steps == 3
    assert len(result.validation[-1].scores) == len(asked["validation"])
    assert [step for step, _, _ in result.curve] == [1, 2, 3]
    assert result.costs["trained_parameters"] < result.costs["parameters"]
    assert result.samples == 3 * BATCH
    assert result.training_flops == 3 * BATCH * result.costs["sample_flops"] > 0
    assert result.is_finite


def test_finished_arms_and_backbones_are_not_trained_again(places: Places) -> None:
    laboratory.train_arm("ar-frozen", 1, "least", 1, places)
    jobs = workers.arm_jobs(["ar-frozen", "ca-frozen"], (0, 1), places)
    assert [job.name for job in jobs] == ["ar-frozen-0", "ca-frozen-0", "ca-frozen-1"]
    assert workers.backbone_jobs(places) == []


@pytest.mark.parametrize("training", ["frozen", "lora", "full"])
def test_backbones_move_where_the_arm_says_so(training: str, places: Places) -> None:
    name = f"ar-{training}"
    laboratory.train_arm(name, 0, "least", 2, places)
    run = places.run_of(f"least-{name}-0")
    before, after = load(run / "start").model, load(run / "stages" / "arm").model
    theirs = dict(after.named_parameters())
    moved = {key for key, x in before.named_parameters() if not torch.equal(x, theirs[key])}
    parts = {key.partition(".")[0] for key in moved if ".layers." in key and "connector" not in key}
    assert parts == (set() if training == "frozen" else {"vision_model", "text_model"})
    assert any(key.startswith("connector.") for key in moved)


def test_all_arms_of_a_seed_see_the_same_pictures_and_questions() -> None:
    whole, split = Draw(3, 0.0), Draw(3, 1.0)
    for index in range(10):
        a, b = whole(index), split(index)
        assert a.turns == b.turns and a.shared[0] == b.shared[0]
        assert (a.split, b.split) == (False, True)
    assert Draw(4, 0.0)(0).turns != whole(0).turns


@pytest.mark.parametrize("family", scenes.FAMILIES)
def test_a_scenes_description_has_every_answer_but_counts_and_yes_or_no(
    family: scenes.Family,
) -> None:
    for number in range(50):
        drawn = scenes.scene(random.Random(f"{number}"), "train", family)
        for asked in drawn.questions:
            if asked.kind not in ("count", "exists"):
                assert asked.answer in drawn.description
            if asked.kind == "exists":
                noun = asked.text.removeprefix("is there a ").rstrip("?")
                assert (noun in drawn.description) == (asked.answer == "yes")


def test_words_and_combinations_of_test_pictures_are_not_in_training() -> None:
    kinds: tuple[scenes.Texts, ...] = ("words", "codes")
    every: tuple[scenes.Part, ...] = ("train", "validation", "test")
    for texts in kinds:
        parts = [{text for text in scenes.shown(part, texts) if len(text) > 1} for part in every]
        assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2]
        assert not parts[1] & parts[2]
        for number in range(30):
            drawn = scenes.scene(random.Random(f"{number}"), "test", "slip", texts)
            assert {thing.name for thing in drawn.things if len(thing.name) > 1} <= parts[2]


def test_patches_are_labelled_with_what_covers_them_when_a_page_is_stretched() -> None:
    canvas = Canvas(2 * scenes.SIDE, scenes.SIDE)
    canvas.shape("star", 96, 36, 20, "red")
    labels_NY = labels.patch_labels(canvas).reshape(labels.GRID, labels.GRID, 5)
    row, column = 36 // models.PATCH, 96 // 2 // models.PATCH
    assert labels_NY[row, column].tolist() == [
        labels.CLASSES["star"],
        labels.CLASSES["star"],
        labels.COLOR_CLASSES["red"],
        row + 1,
        column + 1,
    ]
    assert not labels_NY[:, : labels.GRID // 2 - 1, :3].any()


def test_read_words_are_scored_by_similarity_and_all_else_as_right_or_wrong() -> None:
    read = Item(0, "slip", "read", "what is written?", "ball")
    color = Item(0, "shapes", "color", "what color is the star?", "red")
    assert evaluation.score(read, "bell") == 0.75
    assert evaluation.score(read, "xx") == 0
    letter = read._replace(answer="k")
    assert evaluation.score(letter, " z") == 0  # one of two characters as it came
    assert evaluation.score(letter, " k") == 1
    assert evaluation.score(color, " red") == 1
    assert evaluation.score(color, "reds") == 0


def test_controls_take_the_picture_away() -> None:
    asked = evaluation.questions("test", 6)
    shown = [evaluation.shown_pictures(asked.pictures, how) for how in ("none", "blank", "other")]
    assert shown[0] == list(asked.pictures)
    assert all(picture.getextrema() == ((242, 242),) * 3 for picture in shown[1])
    assert [p.size for p in shown[1]] == [p.size for p in asked.pictures]
    assert shown[2][0] == asked.pictures[3] and shown[2][3] == asked.pictures[0]


def test_an_arm_of_a_cheaper_ones_flops_takes_fewer_steps(places: Places) -> None:
    for name in (REFERENCE, "latents-128", "latents-128-equal"):
        laboratory.train_arm(name, 0, "least", 20, places)
    found = arm_files.read_all(places.arms, "least")
    reference, whole, equal = (
        found[name, 0] for name in (REFERENCE, "latents-128", "latents-128-equal")
    )
    assert reference.steps == whole.steps == 20 > equal.steps
    assert equal.training_flops == pytest.approx(
        reference.training_flops, abs=whole.training_flops / 40
    )


def test_every_arm_but_sweeps_and_equal_flops_is_a_recipe_of_its_own_name() -> None:
    for name in (name for name, arm in ARMS.items() if arm.finding != 3 and arm.flops_of is None):
        assert getattr(findings, name.replace("-", "_"))().name == f"findings-{name}"

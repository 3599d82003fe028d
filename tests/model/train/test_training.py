"""The loop: resuming, processes, accumulation, frozen parts, learning at all."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from idefics2.checkpoint import load
from idefics2.train import AdamW, Adapters, Answers, Optimization, Recipe, Rule, train
from idefics2.train.devices import Devices
from idefics2.train.log import read_log
from idefics2.train.mixture import Mixture
from idefics2.train.recipe import describe
from vlmbench.cli.main import main

HERE = Path(__file__).parent
SMALL = HERE / "small.py"


@pytest.fixture(scope="module")
def small() -> ModuleType:
    spec = importlib.util.spec_from_file_location("small", SMALL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def curve(folder: Path) -> list[tuple[str, int, float, float]]:
    records = [r for r in read_log(folder / "log.jsonl") if r["kind"] == "train"]
    return [(r["stage"], r["step"], r["loss"], r["grad_norm"]) for r in records]


def command(recipe: str, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "vlmbench", "train", recipe, "--out", str(out), "--quiet", *more]


ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, small: ModuleType) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    train(small.recipe(), out, is_quiet=True)
    return out


def test_after_a_kill_the_losses_are_those_of_an_uninterrupted_training(
    uninterrupted: Path, tmp_path: Path
) -> None:
    running = subprocess.Popen(command(str(SMALL), tmp_path), env=ONE_THREAD)
    log = tmp_path / "log.jsonl"
    while not log.exists() or len(log.read_text("utf-8").splitlines()) < 20:
        assert running.poll() is None, "ended before it could be killed"
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert len(curve(tmp_path)) < 32
    with log.open("a", encoding="utf-8") as file:
        file.write('{"kind": "tra')  # a line that a kill cut short
    subprocess.run(command(str(SMALL), tmp_path), env=ONE_THREAD, check=True)
    assert curve(tmp_path) == curve(uninterrupted)


def test_two_processes_train_as_one(uninterrupted: Path, tmp_path: Path) -> None:
    subprocess.run(command(str(SMALL), tmp_path, "--processes", "2"), env=ONE_THREAD, check=True)
    for theirs, ours in zip(curve(tmp_path), curve(uninterrupted), strict=True):
        assert theirs[:2] == ours[:2]
        assert theirs[2:] == pytest.approx(ours[2:], rel=2e-3)
    assert curve(tmp_path)[0][2] == pytest.approx(curve(uninterrupted)[0][2], rel=1e-6)


def test_sharded_processes_train_as_one_and_resume(tmp_path: Path, small: ModuleType) -> None:
    train(small.sharded(), tmp_path / "whole", is_quiet=True)
    shards = command(f"{SMALL}:sharded", tmp_path / "shards", "--processes", "2", "--shard")
    subprocess.run(shards, env=ONE_THREAD, check=True)
    whole = curve(tmp_path / "whole")
    for theirs, ours in zip(curve(tmp_path / "shards"), whole, strict=True):
        assert theirs[2:] == pytest.approx(ours[2:], rel=2e-3)
    uninterrupted = curve(tmp_path / "shards")
    for name in ("checkpoints/0-0000006", "stages"):
        shutil.rmtree(tmp_path / "shards" / name)
    subprocess.run(shards, env=ONE_THREAD, check=True)
    assert curve(tmp_path / "shards") == uninterrupted
    one, other = (load(tmp_path / n / "stages" / "questions").model for n in ("whole", "shards"))
    for mine, sharded in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, sharded, rtol=1e-2, atol=1e-4)


def test_processes_that_do_not_share_the_folder_are_told_so_at_once(tmp_path: Path) -> None:
    """Two machines with a disk each: the same name, and another folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ranks = []
    for rank in "01":
        (tmp_path / rank).mkdir()
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
        ranks.append(
            subprocess.Popen(
                command(str(SMALL), Path("out")),
                cwd=tmp_path / rank,
                env=ONE_THREAD | names | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in ranks:
        _, error = process.communicate(timeout=240)
        assert process.returncode == 2, error
        assert "1 of the 2 processes see another folder out than the first one" in error
        assert "Traceback" not in error
    assert not list((tmp_path / "0" / "out").glob(".shared*"))


def test_micro_batches_of_one_add_up_to_one_large_batch(tmp_path: Path, small: ModuleType) -> None:
    for name, tokens in (("one", 1), ("all", 10_000)):
        stage = replace(small.QUESTIONS, micro_tokens=tokens, num_steps=4)
        train(replace(small.questions(), stages=(stage,)), tmp_path / name, is_quiet=True)
    for one, whole in zip(curve(tmp_path / "one"), curve(tmp_path / "all"), strict=True):
        assert one[2:] == pytest.approx(whole[2:], rel=1e-3)


def test_drawing_ahead_in_processes_changes_nothing(
    uninterrupted: Path, tmp_path: Path, small: ModuleType
) -> None:
    stages = tuple(replace(stage, workers=2) for stage in small.recipe().stages)
    train(replace(small.recipe(), stages=stages), tmp_path, is_quiet=True)
    assert curve(tmp_path) == curve(uninterrupted)


def test_an_error_in_drawing_is_raised_where_training_runs(
    tmp_path: Path, small: ModuleType
) -> None:
    def broken(index: int) -> Any:
        raise KeyError(f"sample {index}")

    stage = replace(small.QUESTIONS, draw=broken, workers=1)
    recipe = replace(small.questions(), stages=(stage,))
    with pytest.raises(RuntimeError, match="KeyError: 'sample 0'"):
        train(recipe, tmp_path, is_quiet=True)


def test_frozen_parts_do_not_move_and_others_do(tmp_path: Path, small: ModuleType) -> None:
    frozen = ("vision_model", r"text_model\.layers\.0\.")
    decayed = Optimization(rules=(Rule("", AdamW(lr=3e-3, weight_decay=0.1)),), undecayed="norm")
    stage = replace(
        small.QUESTIONS, frozen=frozen, trained_tokens=(5,), num_steps=3, optimization=decayed
    )
    train(replace(small.questions(), stages=(stage,)), tmp_path, is_quiet=True)
    before = dict(load(tmp_path / "start").model.named_parameters())
    after = dict(load(tmp_path / "stages" / "questions").model.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [n for n in moved if n.startswith(("vision_model", "text_model.layers.0."))]
    assert {"connector.perceiver_resampler.latents", "lm_head.weight"} <= moved
    rows = (before["lm_head.weight"] != after["lm_head.weight"]).any(1).nonzero().flatten()
    assert rows.tolist() == [5]
    with pytest.raises(ValueError, match="no parameter is named like 'visio_model'"):
        wrong = replace(stage, frozen=("visio_model",))
        train(replace(small.questions(), stages=(wrong,)), tmp_path / "wrong", is_quiet=True)


def test_a_few_steps_lower_the_loss(uninterrupted: Path, small: ModuleType) -> None:
    losses = [loss for stage, _, loss, _ in curve(uninterrupted) if stage == "questions"]
    assert losses[-1] < 0.4 * losses[0]
    losses = [loss for stage, _, loss, _ in curve(uninterrupted) if stage == "patches"]
    assert losses[-1] < 0.8 * losses[0]


def test_a_stage_with_adapters_ends_in_merged_weights(tmp_path: Path, small: ModuleType) -> None:
    adapters = Adapters(kind="dora", rank=2, dropout=0.1)
    stage = replace(
        small.QUESTIONS, adapters=adapters, frozen=("embed_tokens", "lm_head"), num_steps=12
    )
    recipe = replace(small.questions(), stages=(stage,))
    out = train(recipe, tmp_path, is_quiet=True)
    assert curve(tmp_path)[-1][2] < curve(tmp_path)[0][2]
    before = dict(load(tmp_path / "start").model.named_parameters())
    after = dict(load(out).model.named_parameters())
    assert before.keys() == after.keys()
    weight = "text_model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(before[weight], after[weight])
    assert torch.equal(before["lm_head.weight"], after["lm_head.weight"])


def test_recomputing_layers_and_bfloat16_train_too(tmp_path: Path, small: ModuleType) -> None:
    curves = []
    for name, changes in (
        ("plain", {}),
        ("recomputed", {"recompute": True}),
        ("half", {"precision": "bfloat16"}),
    ):
        stage = replace(small.QUESTIONS, num_steps=2, **changes)
        train(replace(small.questions(), stages=(stage,)), tmp_path / name, is_quiet=True)
        curves.append([values[2:] for values in curve(tmp_path / name)])
    plain, recomputed, half = curves
    assert recomputed == plain
    for ours, theirs in zip(half, plain, strict=True):
        assert ours == pytest.approx(theirs, rel=0.1)
        assert ours != theirs


def test_evaluation_is_logged_at_its_steps_and_the_end(tmp_path: Path, small: ModuleType) -> None:
    stage = replace(
        small.QUESTIONS,
        num_steps=5,
        evaluate=lambda model, processor, step: {"training": float(model.training), "step": step},
        evaluate_every=2,
    )
    train(replace(small.questions(), stages=(stage,)), tmp_path, is_quiet=True)
    records = [r for r in read_log(tmp_path / "log.jsonl") if r["kind"] == "evaluation"]
    assert [r["scores"] for r in records] == [{"training": 0.0, "step": s} for s in (2, 4, 5)]


def test_another_recipe_may_not_go_on_in_the_same_folder(
    uninterrupted: Path, small: ModuleType
) -> None:
    recipe: Recipe = small.recipe()
    first, *rest = recipe.stages
    rules = (Rule(first.optimization.rules[0].pattern, AdamW(lr=0.01)), Rule("", AdamW(lr=3e-3)))
    for other, says in (
        (replace(recipe, seed=1), "seed was 0 and is 1"),
        (
            replace(recipe, stages=(replace(first, objective=Answers(max_tokens=9)), *rest)),
            r"stages\[0\].objective.type was 'DenseLabels' and is 'Answers'",
        ),
        (
            replace(recipe, stages=(replace(first, optimization=Optimization(rules=rules)), *rest)),
            "optimizer.type was 'MuonRule' and is 'AdamW'",
        ),
    ):
        with pytest.raises(ValueError, match=f"other settings: .*{says}"):
            train(other, uninterrupted, is_quiet=True)


def test_settings_of_mixtures_and_files_are_described(small: ModuleType) -> None:
    draw = small.draw_questions
    one, other = (Mixture({"a": draw, "b": draw}, {"a": 1, "b": share}) for share in (1, 2))
    assert describe(one) != describe(other)
    assert describe(partial(draw, Path("a"))) != describe(partial(draw, Path("b")))


def test_a_finished_stage_leaves_no_model_in_memory() -> None:
    devices, module = Devices(), nn.Linear(2, 2)
    seen = weakref.ref(module)
    prepared = devices.prepare(module)
    del module, prepared
    assert seen() is not None, "accelerate keeps it"
    devices.forget()
    gc.collect()
    assert seen() is None


def test_only_the_latest_checkpoints_are_kept_and_load(uninterrupted: Path) -> None:
    folders = sorted((uninterrupted / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["1-0000015", "1-0000020"]
    saved = dict(load(folders[-1] / "model").model.named_parameters())
    final = dict(load(uninterrupted / "stages" / "questions").model.named_parameters())
    assert all(torch.equal(saved[name], final[name]) for name in final)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tinny"], "no recipe named 'tinny'; did you mean tiny"),
        (["none.py", "--out", "x"], "no recipe file none.py"),
        ([f"{SMALL}:smal", "--out", "x"], "there are: questions, recipe"),
        ([str(SMALL)], "name a folder with --out"),
        ([str(SMALL), "--out", "x", "--set", "questions.batchsize=3"], "did you mean"),
        ([str(SMALL), "--out", "x", "--set", "questions.batch_size=many"], "must be like 8"),
        ([str(SMALL), "--out", "x", "--set", "questions.batch_size=0"], "must be positive"),
        ([str(SMALL), "--out", "x", "--set", "questions.adapters=lora"], "must be Adapters | None"),
        ([str(SMALL), "--out", "x", "--set", "questions.trained_tokens=5"], "must be tuple[int"),
        ([str(SMALL), "--out", "x", "--set", "batch_size"], "not key=value"),
        ([str(SMALL), "--out", "x", "--steps", "0"], "'0' is no whole number from 1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


@pytest.mark.parametrize("recipe", ["tiny", str(SMALL)])
def test_a_rank_without_the_number_of_processes_is_refused_at_once(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert main(["train", recipe]) == 2
    error = capsys.readouterr().err
    assert "RANK is set and WORLD_SIZE is not" in error and error.count("\n") == 1


def test_settings_of_the_command_line_reach_the_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = ["questions.optimization.schedule.floor=0.5", 'questions.frozen=["lm_head"]']
    arguments = ["train", str(SMALL), "--dry-run", "--steps", "7"]
    assert main([*arguments, "--set", changed[0], "--set", changed[1]]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["num_steps"] for stage in stages] == [7, 7]
    assert stages[1]["optimization"]["schedule"]["floor"] == 0.5
    assert stages[1]["frozen"] == ["lm_head"]


def test_the_command_trains_and_draws_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(SMALL), "--out", str(tmp_path), "--steps", "2", "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "stages" / "questions")
    assert (tmp_path / "training.png").stat().st_size > 1000
    svg = (tmp_path / "training.svg").read_text("utf-8")
    assert "<svg" in svg

"""Costs are the same number wherever they are shown: board in every format, comparison, figures."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.cli.main import main
from vlmbench.reports import costs, plots
from vlmbench.reports.plots import Drawing, style
from vlmbench.runs.folder import single_stream
from vlmbench.runs.folder.costs import FIGURES, Costs, Offline, Place
from vlmbench.runs.folder.finished import open_run
from vlmbench.schema import Response, Timings

TASKS = ("textvqa@validation", "docvqa@validation")
LATENCIES_S = {"textvqa@validation": 0.1, "docvqa@validation": 0.4}
"""Of the slowest sample; the n-th takes n / 9 of it."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, hub_copies: Path) -> Path:
    folder = tmp_path_factory.mktemp("costs") / "plain"
    names = [name.partition("@")[0] for name in TASKS]
    vlmbench.evaluate("constant:A", names, out=folder, data_dir=hub_copies)
    return folder


@pytest.fixture(scope="module")
def costly(plain: Path) -> Callable[..., Path]:
    """A function: name, tokens, slowness -> a run whose tokens, FLOPs and latencies are known."""

    def make(name: str, tokens: int, slowness: float, device: str = "cpu") -> Path:
        folder = plain.parent / name
        if folder.exists():
            return folder
        shutil.copytree(plain, folder)
        log = folder / "responses-0.jsonl"
        text = log.read_text("utf-8")
        text = text.replace('"visual_tokens":null', f'"visual_tokens":{tokens}')
        log.write_text(text.replace('"flops":null', f'"flops":{tokens}000000'), "utf-8")
        for task in TASKS:
            run = open_run(folder).task(task)
            assert run is not None
            ids = [record.id for record in run.responses()][:9]
            for number, id in enumerate(ids, start=1):
                seconds = slowness * LATENCIES_S[task] * number / len(ids)
                single_stream.append(folder, line(task, id, seconds, device))
        return folder

    return make


def line(task: str, id: str, seconds: float, device: str) -> bytes:
    response = Response(
        id=id,
        text="A",
        finish_reason="stop",
        generated_tokens=1,
        timings=Timings(first_token_s=seconds / 2, decode_s=seconds / 2),
    )
    return single_stream.encoded(
        task,
        id,
        response,
        latency_s=seconds,
        place=Place(device=device, dtype="float32", num_threads=1),
        peak_device_memory_bytes=None,
        prompt="",
        worker="0",
        time=0.0,
    )


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_the_board_has_them_in_every_format(
    costly: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    one, five = costly("one", 64, 1.0), costly("five", 320, 3.0)
    board = ("board", one, five, "--baselines", "none")
    (table,) = json.loads(printed(capsys, *board, "--json"))["tables"]
    medians = {c["task"]: LATENCIES_S[f"{c['task']}@validation"] * 5 / 9 for c in table["columns"]}
    for row, slowness in zip(table["rows"], (1.0, 3.0), strict=True):
        for column, cell in zip(table["columns"], row["cells"], strict=True):
            alone = cell["costs"]["single_stream"]
            assert alone["n"] == 9
            assert alone["latency_s"]["p50"] == pytest.approx(slowness * medians[column["task"]])
            assert alone["ttft_s"]["p50"] == pytest.approx(alone["latency_s"]["p50"] / 2)
            assert cell["costs"]["offline"]["num_devices"] is None
    cells = list(csv.DictReader(io.StringIO(printed(capsys, *board, "--format", "csv"))))
    assert {float(c["costs.flops_per_sample"]) for c in cells} == {64e6, 320e6}
    assert [float(c["costs.single_stream.latency_s"]) for c in cells[:2]] == pytest.approx(
        [medians[c["task"]] for c in cells[:2]]
    )
    mean_ms = 1000 * sum(medians.values()) / 2
    wanted = [costs.short(mean_ms), costs.short(3 * mean_ms)]
    chosen = ("--columns", "mean,latency,tokens,price")
    text = printed(capsys, *board, *chosen)
    header, *rows = [one.split() for one in text.split("\n\n")[1].splitlines()[2:]]
    assert header == ["system", "mean", "ms", "image", "USD"]
    assert [row[-3:] for row in rows if row[0] == "constant:A"] == [
        [wanted[0], "64", "-"],
        [wanted[1], "320", "-"],
    ]
    for form in ("markdown", "latex", "html"):
        marked = printed(capsys, *board, *chosen, "--format", form)
        assert all(number in marked for number in wanted), form
        assert "ms, single stream" in marked and "one request at a time" in marked, form


def test_a_column_that_there_is_not_is_a_mistake(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["board", str(plain), "--columns", "latncy"]) == 2
    assert "no column named 'latncy' of the board (--columns); did you mean latency?" in (
        capsys.readouterr().err
    )


def test_ratios_are_paired_by_sample(
    costly: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, five = costly("one", 64, 1.0), costly("five", 320, 3.0)
    found = json.loads(printed(capsys, "compare", one, five, "--json"))
    for task in found["tasks"]:
        ratios = task["cost_ratios"]
        for key in ("latency_s", "ttft_s", "per_token_s"):
            latency = ratios[f"single_stream.{key}"]
            assert [latency["ratio"], *latency["interval"]] == pytest.approx([3, 3, 3])
            assert latency["n"] == 9
        assert ratios["visual_tokens_per_image"]["ratio"] == pytest.approx(5)
        assert ratios["flops_per_sample"]["n"] == 12
    text = printed(capsys, "compare", one, five)
    assert "latency, single stream" in text and "3.000 .. 3.000" in text


def test_times_of_different_devices_are_not_paired(
    costly: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = costly("one", 64, 1.0), costly("gpu", 64, 0.1, device="NVIDIA H200")
    found = json.loads(printed(capsys, "compare", here, there, "--json"))
    latency = found["tasks"][0]["cost_ratios"]["single_stream.latency_s"]
    assert latency["a"] and latency["b"]
    assert (latency["ratio"], latency["interval"], latency["n"]) == (None, None, 0)


@pytest.mark.parametrize("scope", ["textvqa@validation", "mean"])
def test_points_stand_at_their_cost(costly: Callable[..., Path], scope: str) -> None:
    runs = [open_run(folder) for folder in (costly("one", 64, 1.0), costly("five", 320, 3.0))]
    seconds = [LATENCIES_S[scope]] if scope != "mean" else list(LATENCIES_S.values())
    median_ms = 1000 * 5 / 9 * sum(seconds) / len(seconds)
    wanted = {"latency": [median_ms, 3 * median_ms], "tokens": [64, 320], "flops": [0.064, 0.32]}
    every = plots.figures(runs, ["tradeoff", "tasks"])
    drawings = {one.name: one for one in every if isinstance(one, Drawing)}
    for cost, places in wanted.items():
        with style.applied(style.SIZES["column"]):
            axes = drawings[f"tradeoff-{cost}-{scope}"].draw().axes[0]
        bars: Any = axes.containers
        found = [bar.lines[0].get_xdata()[0] for bar in bars]
        assert found == pytest.approx(places)
        label = FIGURES[costs.KEYS[cost]]
        assert axes.get_xlabel() == label.axis
        ticks = [t for t in axes.get_xticks() if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
        assert len(ticks) >= 3


def known(**fields: Any) -> Costs:
    return Costs(**fields)


@pytest.mark.parametrize(
    ("key", "parts", "value"),
    [
        ("flops_per_sample", [known(flops_per_sample=1.0), known(flops_per_sample=3.0)], 2.0),
        ("flops_per_sample", [known(flops_per_sample=1.0), known()], None),
        (
            "peak_host_memory_bytes",
            [known(peak_host_memory_bytes=5), known(peak_host_memory_bytes=7)],
            7.0,
        ),
        ("truncated", [known(truncated=2), known(truncated=3)], 5.0),
        (
            "offline.samples_per_s",
            [known(offline=Offline(samples_per_s=rate)) for rate in (10.0, 30.0)],
            15.0,
        ),
        ("mfu", [], None),
    ],
)
def test_over_tasks_each_kind_of_figure_is_summed_up_its_own_way(
    key: str, parts: Sequence[Costs], value: float | None
) -> None:
    assert costs.over_tasks(FIGURES[key], parts) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "0.0123"), (1.5, "1.50"), (320.0, "320"), (12345.6, "12,346"), (5, "5")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert costs.short(value) == text

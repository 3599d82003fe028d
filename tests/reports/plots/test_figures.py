"""Figures as files: the same each time, with text that can be read, all of it inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from vlmbench.reports import plots
from vlmbench.reports.board.baselines import load
from vlmbench.reports.plots import Drawing, style, training
from vlmbench.runs.folder.finished import open_run

ONE_OF_EACH = (
    "tradeoff-tokens-textvqa@validation",
    "tradeoff-latency-textvqa@validation",
    "tradeoff-latency-mean",
    "categories-mmmu@validation-domain",
    "radar",
    "latency-mathvista@testmini",
    "training",
)


@pytest.fixture(scope="module")
def drawings(two_runs: list[Path], training_log: Path) -> dict[str, dict[str, Drawing]]:
    """Size to name to figure, not drawn yet."""
    runs, systems = [open_run(folder) for folder in two_runs], load()
    log = plots.read_log(training_log)
    found: dict[str, dict[str, Drawing]] = {}
    for name, size in plots.SIZES.items():
        figures = plots.figures(runs, plots.KINDS, systems=systems, size=size)
        every = [*figures, training.drawing([log], size)]
        found[name] = {one.name: one for one in every if isinstance(one, Drawing)}
    return found


Drawings = dict[str, dict[str, Drawing]]


def words_of(path: Path) -> str:
    root = ElementTree.parse(path).getroot()
    return " ".join("".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text"))


def test_files_are_the_same_each_time_and_say_what_they_show(
    drawings: Drawings, two_runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {}
    for name in ONE_OF_EACH:
        drawing = drawings["column"][name]
        (path,) = plots.write(drawing, tmp_path / "first", ["svg"])
        monkeypatch.setitem(mpl.rcParams, "font.size", 33)  # as a user's matplotlibrc might
        monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "path")
        (same,) = plots.write(drawing, tmp_path / "again", ["svg"])
        assert path.read_bytes() == same.read_bytes()
        assert b"<dc:date>" not in path.read_bytes()
        texts[name] = words_of(path)
    for word in ("VQA accuracy (%)", "visual tokens per image", "Pareto front", "n = 12"):
        assert word in texts["tradeoff-tokens-textvqa@validation"]
    assert "MM1-7B-Chat" in texts["tradeoff-tokens-textvqa@validation"]
    assert "latency, single stream [ms]" in texts["tradeoff-latency-textvqa@validation"]
    assert "Idefics2" not in texts["tradeoff-latency-textvqa@validation"]
    for word in ("Art and Design (3)", "accuracy (%)", "95 % intervals"):
        assert word in texts["categories-mmmu@validation-domain"]
    for word in ("mmbench", "@dev-en", "mmbench@dev-en 4", "mathvista@testmini 12"):
        assert word in texts["radar"]
    for word in ("latency, single stream [s]", "requests answered within it (%)", "(n = 12)"):
        assert word in texts["latency-mathvista@testmini"]
    for word in ("loss", "learning rate", "score", "step", "docvqa@mini", "align, chat"):
        assert word in texts["training"]
    run = open_run(two_runs[0]).title
    together = {name: text.replace(" ", "") for name, text in texts.items() if name != "training"}
    for name, text in together.items():
        model, short = run.replace(" ", ""), "log-five"
        assert model in text or short in text, name
    assert "bootstrap draws" in texts["tradeoff-latency-mean"]


def drawn(drawing: Drawing) -> tuple[Figure, Any]:
    figure = drawing.draw()
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return figure, canvas.get_renderer()  # type: ignore[no-untyped-call]  # untyped in matplotlib


def shown_texts(figure: Figure) -> list[Text]:
    """Tick labels beyond an axis's end are in the figure's tree and never shown."""
    found = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    hidden = {
        label
        for axes in figure.axes
        if axes.name != "polar"
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    return [t for t in found if t.get_visible() and t.get_text().strip() and t not in hidden]


@pytest.mark.parametrize("size", plots.SIZES)
def test_all_text_is_inside_the_figure_and_large_enough(size: str, drawings: Drawings) -> None:
    for name in ONE_OF_EACH:
        with style.applied(plots.SIZES[size]):
            figure, renderer = drawn(drawings[size][name])
            page = figure.bbox
            for text in shown_texts(figure):
                box = text.get_window_extent(renderer)
                assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, (name, text.get_text())
                assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, (name, text.get_text())
                assert float(text.get_fontsize()) >= 0.75 * plots.SIZES[size].font_pt - 1e-9


def test_names_of_reported_results_cover_nothing(drawings: Drawings) -> None:
    drawing = drawings["column"]["tradeoff-tokens-textvqa@validation"]
    with style.applied(drawing.size):
        figure, renderer = drawn(drawing)
        axes = figure.axes[0]
        names = [text for text in axes.texts if text.get_text().strip()]
        boxes = [text.get_window_extent(renderer) for text in names]
        assert len(boxes) >= 5
        for one, other in combinations(boxes, 2):
            assert not one.overlaps(other)
        points = axes.collections[-1].get_offsets()
        for x, y in axes.transData.transform(points):
            assert not any(box.contains(x, y) for box in boxes)


def test_series_can_be_told_apart_without_colour(drawings: Drawings) -> None:
    for kind in ("marker", "line", "hatch", "colour"):
        assert len({str(getattr(look, kind)) for look in style.LOOKS}) == len(style.LOOKS)
    found = drawings["column"]
    with style.applied(style.SIZES["column"]):
        for name in ("tradeoff-latency-textvqa@validation", "latency-mathvista@testmini", "radar"):
            lines = found[name].draw().axes[0].lines
            markers = {str(line.get_marker()) for line in lines} - {"None", "", "|", "_"}
            assert {"o", "s"} <= markers, name
        bars = found["categories-mmmu@validation-domain"].draw().axes[0].containers
        hatches = {bar.patches[0].get_hatch() for bar in bars if hasattr(bar, "patches")}
        assert hatches == {"", "////"}


def test_help_loads_no_matplotlib() -> None:
    code = "import sys; from vlmbench.cli.main import parser_of; parser_of('plot').format_help(); "
    code += "parser_of('submit'); sys.exit(bool({'matplotlib', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_intervals_are_drawn_as_the_run_has_them(drawings: Drawings, two_runs: list[Path]) -> None:
    name = "textvqa@validation"
    with style.applied(style.SIZES["column"]):
        axes = drawings["column"][f"tradeoff-latency-{name}"].draw().axes[0]
    bars = [box for box in axes.containers if isinstance(box, ErrorbarContainer)]
    for bar, folder in zip(bars, two_runs, strict=True):
        task = open_run(folder).task(name)
        assert task is not None
        estimate = task.summaries["official"].estimate
        assert estimate is not None
        (_, low), (_, high) = bar.lines[2][1].get_segments()[0]
        assert (low, high) == pytest.approx((100 * estimate.low, 100 * estimate.high))


Plot = Callable[..., tuple[int, list[Path], str]]


def test_the_command_writes_every_format_of_the_kinds_asked_for(
    plot: Plot, two_runs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "figures"
    code, files, _ = plot(*two_runs, "--kind", "radar", "--format", "png,svg,pdf", "--out", out)
    assert code == 0
    assert [path.name for path in files] == ["radar.png", "radar.svg", "radar.pdf"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[2].read_bytes().startswith(b"%PDF")


def test_what_a_run_lacks_is_left_out_with_its_reason(
    plot: Plot, bare_run: Path, tmp_path: Path
) -> None:
    code, files, err = plot(bare_run, "--format", "svg", "--out", tmp_path)
    assert (code, files) == (2, [])
    assert err.splitlines() == [
        "vlmbench: left out: textvqa@validation: a trade-off takes two points of known cost; name "
        "several runs, or make some with vlmbench sweep",
        "vlmbench: left out: radar: it takes 3 scored tasks, and the run has 1",
        "vlmbench: left out: textvqa@validation: no categories to draw bars of",
        "vlmbench: no figure could be drawn: the reasons are above",
    ]
    code, files, err = plot(bare_run, "--kind", "latency", "--out", tmp_path)
    assert (code, files) == (2, [])
    assert "textvqa@validation: constant:A has no single-stream latency" in err


def test_a_cost_that_is_asked_for_and_not_known_is_told(
    plot: Plot, two_runs: list[Path], tmp_path: Path
) -> None:
    words = (*two_runs, "--kind", "tradeoff", "--format", "svg", "--out", tmp_path)
    code, files, err = plot(*words, "--costs", "latency,energy")
    assert code == 0
    assert [path.name for path in files] == ["tradeoff-latency-mean.svg"]
    assert err == "vlmbench: left out: mean: no run has energy per sample, offline\n"


def test_the_usual_figures_are_few(plot: Plot, two_runs: list[Path], tmp_path: Path) -> None:
    code, files, _ = plot(*two_runs, "--format", "svg", "--out", tmp_path)
    assert code == 0
    names = [path.stem for path in files]
    assert names[-1] == "radar" and len(names) <= 6
    assert all(name.startswith("tradeoff-") and name.endswith("-mean") for name in names[:-1])


@pytest.mark.parametrize("size", plots.SIZES)
def test_every_run_is_named_beside_its_point(size: str, drawings: Drawings) -> None:
    with style.applied(plots.SIZES[size]):
        figure, _ = drawn(drawings[size]["tradeoff-latency-mean"])
        names = [text.get_text() for text in figure.axes[0].texts]
    assert len(names) == 2 and all("%" in name for name in names)


def test_a_run_whose_name_is_no_utf8_is_drawn(
    plot: Plot, two_runs: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / os.fsdecode(b"r\xff")
    shutil.copytree(two_runs[0], other)
    words = ("--costs", "tokens", "--kind", "tradeoff", "--format", "svg")
    code, files, _ = plot(two_runs[0], other, *words, "--out", tmp_path / "figures")
    assert code == 0
    assert "r\\udcff" in words_of(files[0])

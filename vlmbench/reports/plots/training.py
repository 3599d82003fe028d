"""Training curves from the log of `idefics2.train`: loss, learning rate, evaluation scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlmbench import files
from vlmbench.errors import VlmbenchError
from vlmbench.metrics.intervals import Floats
from vlmbench.reports.plots import style
from vlmbench.reports.plots.series import Drawing
from vlmbench.reports.plots.style import Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG = "log.jsonl"
"""The name that `idefics2.train` gives every log: a log is then labelled by its folder."""

WINDOWS = 40
"""Number of windows in a smoothed curve, about."""


@dataclass(slots=True)
class TrainingLog:
    """Losses, learning rates and scores of a training run, by step."""

    label: str
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rates: list[tuple[int, float]] = field(default_factory=list)
    scores: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Pairs of step and score by what was evaluated, as logged."""

    stages: list[tuple[str, int]] = field(default_factory=list)
    """Names of the stages, each with the number of steps before it."""


def read_log(path: Path) -> TrainingLog:
    """Read a log with a JSON line per step: `step`, `loss` and `lr`; evaluations have `scores`.

    Steps count from the start of a `stage`, and here from that of the first. Where a resumed
    training logs steps again, the later line counts.

    Raises: VlmbenchError for a file that is missing, damaged or holds no loss.
    """
    log = TrainingLog(label=path.resolve().parent.name if path.name == LOG else path.stem)
    losses: dict[int, float] = {}
    rates: dict[int, float] = {}
    scores: dict[str, dict[int, float]] = {}
    last = 0
    for where, record in _records(path):
        step, stage = record.get("step"), str(record.get("stage", ""))
        if not isinstance(step, int) or not files.is_figure(step):
            raise VlmbenchError(f"{where}: no step, so no line of a training log")
        if not log.stages or log.stages[-1][0] != stage:
            log.stages.append((stage, last))
        step += log.stages[-1][1]
        last = max(last, step)
        for name, column in (("loss", losses), ("lr", rates)):
            if name in record:
                column[step] = _number(record[name], name, where)
        evaluated = record.get("scores")
        if isinstance(evaluated, Mapping):
            for task, score in evaluated.items():
                scores.setdefault(task, {})[step] = _number(score, task, where)
    if not losses:
        raise VlmbenchError(f'{path} has no training steps: no line with "step" and "loss"')
    log.steps = sorted(losses)
    log.losses = [losses[step] for step in log.steps]
    log.rates = sorted(rates.items())
    log.scores = {task: sorted(found.items()) for task, found in scores.items()}
    return log


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with files.opened(path) as file:
            lines = file.read().splitlines(keepends=True)
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        try:
            record = files.decode(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                return  # a line that is being written
            raise VlmbenchError(f"{where}: no JSON: {error}") from None
        if not isinstance(record, dict):
            raise VlmbenchError(f"{where}: no object of a training log")
        yield where, record


def _number(value: object, name: str, where: str) -> float:
    """The value as a number; NaN and infinity, which are logged as null or text, leave a gap."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise VlmbenchError(f"{where}: {name!r} is {value!r}, expected a number")
    try:
        return float("nan") if value is None else float(value)
    except (ValueError, OverflowError):
        raise VlmbenchError(f"{where}: {name!r} is {value!r:.40}, expected a number") from None


def drawing(logs: Sequence[TrainingLog], size: Size) -> Drawing:
    """Loss above learning rate above scores, over the same steps; panels without data left out."""
    return Drawing("training", size, _Draw(logs, size))


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws the figure when called."""

    logs: Sequence[TrainingLog]
    size: Size

    def __call__(self) -> Figure:
        has_rates = any(log.rates for log in self.logs)
        tasks = list(dict.fromkeys(task for log in self.logs for task in log.scores))
        heights = [1.0] + [0.5] * has_rates + [0.8] * bool(tasks)
        scale = 0.55 * self.size.width_in
        note_in = (5 + len(self.logs) + 0.7 * len(tasks)) * self.size.line_in
        figure = style.new_figure(self.size, sum(heights) * scale + note_in)
        panels: list[Axes] = list(
            figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[
                :, 0
            ]
        )
        handles: list[Any] = [self._draw_loss(panels[0], i) for i in range(len(self.logs))]
        labels = [log.label for log in self.logs]
        panels[0].set_ylabel("loss")
        if has_rates:
            for index, log in enumerate(self.logs):
                look = style.look(index)
                steps, rates = zip(*log.rates, strict=True) if log.rates else ((), ())
                panels[1].plot(steps, rates, color=look.colour, linestyle=look.line)
            panels[1].set_ylabel("learning rate")
            panels[1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
            panels[1].set_ylim(bottom=0)
        if tasks:
            shown, names = self._draw_scores(panels[-1], tasks)
            handles += shown
            labels += names
            panels[-1].set_ylabel("score")
        panels[-1].set_xlabel("step")
        for start in {start for log in self.logs for _, start in log.stages if start}:
            for panel in panels:
                panel.axvline(start, color="black", linestyle=":", linewidth=self.size.font_pt / 12)
        last = max(log.steps[-1] for log in self.logs)
        panels[-1].set_xlim(min(0, *(log.steps[0] for log in self.logs)), 1.01 * last or 1)
        style.legend(figure, self.size, handles, labels)
        style.caption(figure, self.size, self._caption())
        return figure

    def _draw_loss(self, axes: Axes, index: int) -> Any:
        """Draws each logged step pale, and the running mean with a marker."""
        log, look = self.logs[index], style.look(index)
        axes.plot(
            log.steps, log.losses, color=look.colour, alpha=0.35, linewidth=self.size.font_pt / 16
        )
        steps = np.array(log.steps, dtype=np.float64)
        (line,) = axes.plot(
            steps,
            running_mean(np.array(log.losses, dtype=np.float64), self._window(log)),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markevery=(index * 0.03 + 0.05, 0.2),
            markeredgecolor="black",
            markeredgewidth=self.size.font_pt / 16,
        )
        from matplotlib.ticker import FuncFormatter, NullFormatter

        finite = np.array([loss for log in self.logs for loss in log.losses])
        finite = finite[np.isfinite(finite) & (finite > 0)]
        if len(finite) and finite.max() / finite.min() > 20:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        return line

    def _draw_scores(self, axes: Axes, tasks: Sequence[str]) -> tuple[list[Any], list[str]]:
        """Draws scores: colour and line tell the log, the hollow marker tells the task."""
        from matplotlib.lines import Line2D

        markers = {task: style.look(index).marker for index, task in enumerate(tasks)}
        for index, log in enumerate(self.logs):
            look = style.look(index)
            for task, found in log.scores.items():
                steps, scores = zip(*found, strict=True)
                (line,) = axes.plot(steps, scores, color=look.colour, linestyle=look.line)
                line.set(marker=markers[task], markerfacecolor="white", clip_on=False)
        handles = [
            Line2D([], [], linestyle="none", marker=marker, color="black", markerfacecolor="white")
            for marker in markers.values()
        ]
        return handles, list(tasks)

    @staticmethod
    def _window(log: TrainingLog) -> int:
        return max(1, len(log.losses) // WINDOWS)

    def _caption(self) -> str:
        windows = " and ".join(
            f"{n}" for n in dict.fromkeys(self._window(log) for log in self.logs)
        )
        counts = ", ".join(f"{len(log.steps):,} ({log.label})" for log in self.logs)
        text = f"Logged steps: {counts}. Pale: each; strong: the mean of {windows} at a time."
        staged = [log for log in self.logs if len(log.stages) > 1]
        if staged:
            names = "; ".join(", ".join(name for name, _ in log.stages) for log in staged)
            text += f" Upright lines: a new stage ({names})."
        return text


def running_mean(values: Floats, window: int) -> Floats:
    """The centred running mean, over fewer values at the ends; gaps (NaN) are left out."""
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    index = np.arange(len(values))
    start = np.maximum(0, index - (window - 1) // 2)
    end = np.minimum(len(values), index + window // 2 + 1)
    num_known = counts[end] - counts[start]
    means: Floats = np.full(len(values), np.nan)
    np.divide(sums[end] - sums[start], num_known, out=means, where=num_known > 0)
    return means

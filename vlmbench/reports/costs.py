"""Costs by name, as the command line, tables and axes have them, and over several tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vlmbench.errors import no_such
from vlmbench.runs.folder.costs import FIGURES, Costs, Figure

KEYS: Mapping[str, str] = {
    "tokens": "visual_tokens_per_image",
    "ttft": "single_stream.ttft_s",
    "preprocess": "single_stream.preprocess_s",
    "encode": "single_stream.encode_s",
    "prefill": "single_stream.prefill_s",
    "per-token": "single_stream.per_token_s",
    "latency": "single_stream.latency_s",
    "samples/s": "offline.samples_per_s",
    "tokens/s": "offline.tokens_per_s",
    "device-time": "offline.device_seconds_per_sample",
    "device-memory": "peak_device_memory_bytes",
    "host-memory": "peak_host_memory_bytes",
    "flops": "flops_per_sample",
    "mfu": "mfu",
    "energy": "joules_per_sample",
    "price": "usd_per_1000_samples",
    "truncated": "truncated",
}
"""Name to the figure's key."""

NAMES = tuple(KEYS)

MOST = ("peak_device_memory_bytes", "peak_host_memory_bytes")
"""Figures of which several tasks cost the most of theirs."""

SUMS = ("truncated",)


def figure(name: str) -> Figure:
    """The figure of that name. Raises: VlmbenchError where there is none."""
    if name not in KEYS:
        raise no_such("cost", name, NAMES)
    return FIGURES[KEYS[name]]


def is_of_whole_run(figure: Figure) -> bool:
    """True if the run as a whole has the figure where its tasks cannot be told apart."""
    return figure.key.startswith("offline.") or figure.key in (
        *("mfu", "joules_per_sample", "usd_per_1000_samples"),
    )


def scenario(figure: Figure) -> str:
    """How it is measured: "single stream", "offline", or empty where that is all the same."""
    if figure.key.startswith("single_stream."):
        return "single stream"
    return "offline" if "offline" in figure.title else ""


def over_tasks(figure: Figure, costs: Sequence[Costs]) -> float | None:
    """The figure over several tasks, each counting the same, in its `unit`.

    A mean; of rates the harmonic one, as the tasks' times add up; of memory the most; of counts
    the sum. None unless all are known.
    """
    values = [figure.value(one) for one in costs]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    if figure.key in MOST:
        return max(known)
    if figure.key in SUMS:
        return math.fsum(known)
    if figure.unit == "1/s":
        return len(known) / math.fsum(1 / one for one in known) if all(known) else 0.0
    return math.fsum(known) / len(known)


def shown(figure: Figure, value: float | None) -> str:
    """A value in the unit that is shown, to three significant digits; "-": unknown."""
    return "-" if value is None else short(value / figure.scale)


def short(value: float) -> str:
    """Three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if float(value).is_integer() and "." in text else text

"""What was measured, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from vlmbench.backends.bench.ceilings import Ceilings
from vlmbench.backends.bench.latency import Latency, Quantiles
from vlmbench.backends.bench.profiling import Profile, share
from vlmbench.schema import Probe
from vlmbench.tables import aligned


def title(probe: Probe, split: bool | None, ceilings: Ceilings | None) -> str:
    parts = [probe.model]
    if split is not None:
        parts.append(f"splitting {'on' if split else 'off'}")
    if ceilings is not None:
        parts.append(f"{probe.device_name or probe.device}, {probe.dtype}")
        parts.append(f"measured ceilings {ceilings.flops_per_s / 1e9:,.0f} GFLOP/s")
        parts.append(f"{ceilings.bytes_per_s / 1e9:,.1f} GB/s")
    return ", ".join(parts)


def latency_table(found: Sequence[Latency], ceilings: Ceilings | None) -> str:
    header = ["side", "at once", "visual tokens", "total ms p50/p90/p99", "first token ms"]
    header += ["token ms", "answers/s", "tokens/s", "GFLOP", "of peak", "GB"]
    rows = []
    for one in found:
        used = one.flops_per_s / ceilings.flops_per_s if one.flops_per_s and ceilings else None
        peak = one.peak_device_memory_bytes
        rows.append(
            [
                *(str(one.side), str(one.at_once), _figure(one.visual_tokens, "d")),
                *(_times(one.total), _times(one.first_token), _times(one.token)),
                *(f"{one.answers_per_s:.2f}", _figure(one.tokens_per_s, ".1f")),
                *(_figure(one.flops and one.flops / 1e9, ",.1f"), _figure(used, ".0%")),
                _figure(peak and peak / 1e9, ".1f"),
            ]
        )
    return aligned(header, rows)


def profile_table(found: Sequence[Profile], ceilings: Ceilings | None) -> str:
    """A line a stage: its share of the time, then of what the machine can do in that time."""
    header = ["workload", "stage", "seconds", "share", "GFLOP/s", "of peak", "GB/s", "of peak"]
    rows = []
    for one in found:
        for stage in one.stages:
            took = stage.seconds or None
            flops = stage.flops / took / 1e9 if took and stage.flops is not None else None
            num_bytes = stage.num_bytes / took / 1e9 if took and stage.num_bytes else None
            shares = share(stage, ceilings) if ceilings else (None, None)
            rows.append(
                [
                    *(one.workload, stage.name, f"{stage.seconds:.3f}"),
                    *(f"{stage.seconds / one.seconds:.0%}", _figure(flops, ",.1f")),
                    *(_figure(shares[0], ".0%"), _figure(num_bytes, ",.1f")),
                    _figure(shares[1], ".0%"),
                ]
            )
        whole = [f"all {one.n} questions", f"{one.seconds:.3f}", "100%"]
        rows.append([one.workload, *whole, *[""] * 4])
    return aligned(header, rows, num_left=2)


def _times(found: Quantiles | None) -> str:
    if found is None:
        return ""
    return "/".join(_milliseconds(seconds) for seconds in asdict(found).values())


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}" if seconds >= 0.1 else f"{seconds * 1e3:.1f}"


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)

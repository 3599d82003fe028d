"""What a run would take on how many workers: a table of simulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from statistics import fmean
from typing import Any

from vlmbench.runs.plan import Item
from vlmbench.runs.rates import Rates
from vlmbench.runs.simulate import Simulated, simulate, spot_losses, static_shares_s
from vlmbench.tables import aligned

NUM_DRAWS = 5
"""Simulations of a number of workers where nodes are lost at random; means are told."""

HARDLY = 0.5
"""A worker of the larger number that is used less than this is hardly worth its price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The machines that would be rented."""

    slowdown: float = 1.0
    """Factor on the pilot's times."""

    losses_per_hour: float = 0.0
    """Of a node."""

    node_gpus: int = 8
    replace_s: float = 120.0
    """Until a lost node's successor is there; its workers then load the model."""

    usd_per_hour: float | None = None
    """Of a GPU; None: not told."""


def figures(
    items: Sequence[Item], rates: Rates, sizes: Sequence[int], pool: Pool
) -> dict[str, Any]:
    """Figures for each number of workers."""
    rows = [_row(items, rates, size, pool) for size in sizes]
    return {
        "samples": len(items),
        "pilot_samples": rates.num_samples,
        "seconds_of_work": sum(map(rates, items)) * pool.slowdown,
        "load_s": rates.load_s,
        "pool": asdict(pool),
        "workers": rows,
        "worth": _worth(rows),
    }


def _row(items: Sequence[Item], rates: Rates, size: int, pool: Pool) -> dict[str, Any]:
    def seconds(item: Item) -> float:
        return rates(item) * pool.slowdown

    def drawn(number: int) -> Simulated:
        losses = spot_losses(pool.losses_per_hour, size, pool.node_gpus, Random(number))
        replace_s = pool.replace_s + rates.load_s
        joins = [rates.load_s] * size
        return simulate(items, seconds, joins, losses=losses, replace_s=replace_s)

    runs = [drawn(number) for number in range(NUM_DRAWS if pool.losses_per_hour else 1)]
    means = {
        name: fmean(getattr(run, name) for run in runs)
        for name in ("makespan_s", "tail_s", "idle_share", "paid_s", "again_s", "num_losses")
    }
    price = pool.usd_per_hour
    return {
        "gpus": size,
        **means,
        "static_shares_s": rates.load_s + static_shares_s(items, seconds, size),
        "usd": None if price is None else means["paid_s"] / 3600 * price,
    }


def _worth(rows: Sequence[Mapping[str, Any]]) -> int:
    """The largest number of workers whose time is used by half or more; else the least."""
    used: list[int] = [row["gpus"] for row in rows if 1 - row["idle_share"] >= HARDLY]
    return max(used) if used else int(rows[0]["gpus"])


def described(found: Mapping[str, Any]) -> str:
    """The figures as a table."""
    pool = found["pool"]
    header = ["GPUs", "time", "tail", "idle", "GPU hours", "done again", "losses", "static shares"]
    has_price = pool["usd_per_hour"] is not None
    rows = [
        (
            f"{row['gpus']:,}",
            _clock(row["makespan_s"]),
            _clock(row["tail_s"]),
            f"{row['idle_share']:.1%}",
            f"{row['paid_s'] / 3600:,.2f}",
            _clock(row["again_s"]),
            f"{row['num_losses']:,.1f}",
            _clock(row["static_shares_s"]),
            *([f"{row['usd']:,.2f}"] if has_price else []),
        )
        for row in found["workers"]
    ]
    a_sample = found["seconds_of_work"] / found["samples"]
    pilot = found["pilot_samples"]
    source = f"by the pilot's {pilot:,}" if pilot else "as assumed"
    return "\n".join(
        [
            f"{found['samples']:,} samples, {a_sample:.3f} s each on one GPU {source}; a model "
            f"loads in {found['load_s']:.0f} s",
            "",
            aligned([*header, *(["USD"] if has_price else [])], rows),
            "",
            f"beyond {found['worth']:,} GPUs less than half of the time that is paid for is used "
            "(of the numbers compared)",
        ]
    )


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"

"""What a task costs in a run, by the two scenarios in which MLPerf Inference measures.

Single stream is latency: one request at a time on an otherwise idle device. Offline is throughput:
all requests together, as the run itself asks them. Neither stands for the other. Unknown is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Percentiles of one time over requests, in seconds."""

    p50: float
    p90: float
    p99: float
    ci95: tuple[float, float] | None
    """95 % confidence interval of the median; None below 6 requests, which give none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where latency was measured: times of different places do not compare."""

    device: str = ""
    """The accelerator's name, else "cpu"; empty for a server."""

    dtype: str = ""
    num_threads: int | None = None
    """Of the process, on a CPU; None elsewhere."""

    num_idle_workers: int = 0
    """The run's other workers, which had their models loaded and nothing to do."""

    network: str = ""
    """What lies between client and server: "loopback", or the server's host; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStream:
    """Latency: a sample of the task's requests, one at a time, after a warm-up."""

    n: int
    """Requests that were measured."""

    ttft_s: Quantiles | None = None
    """Time to first token, from the start of preprocessing; of a server, to the first text."""

    preprocess_s: Quantiles | None = None
    encode_s: Quantiles | None = None
    prefill_s: Quantiles | None = None
    per_token_s: Quantiles | None = None
    """Time per output token after the first."""

    latency_s: Quantiles | None = None
    """From the request to its whole answer."""

    peak_device_memory_bytes: int | None = None
    """None: no one counts, or it was asked after larger batches, whose peak hides it."""

    place: Place = field(default_factory=Place)
    compared: int = 0
    """Answers that the run's log has too."""

    disagreements: int = 0
    """Of those compared, answers that differ: batches change the order of sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """Throughput: all requests together; the loading of the model is left out."""

    samples_per_s: float | None = None
    """Of all devices together. A task's, in a run of several, is what it would have alone: its
    samples over its part of the time, by the device time that the backend attributes to each."""

    tokens_per_s: float | None = None
    """Generated tokens per second, of all devices together."""

    device_seconds_per_sample: float | None = None
    """Time for which a device was held, over the samples; with several devices, of all of them."""

    num_devices: int | None = None
    """Accelerators; without one, machines; None for a server's, which a client cannot see."""

    device: str | None = None
    """Kind: the accelerator's name or "cpu"; several are joined by ", "."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The costs of a task in a run, or of a whole run, which has no single stream."""

    single_stream: SingleStream | None = None
    offline: Offline | None = None
    visual_tokens_per_image: float | None = None
    """Mean over the images that were shown."""

    peak_device_memory_bytes: float | None = None
    """Of one device, offline."""

    peak_host_memory_bytes: float | None = None
    """Resident memory of one worker, offline, the loading of the model included."""

    flops_per_sample: float | None = None
    """Mean; None unless known for every answer."""

    mfu: float | None = None
    """Model FLOPs utilisation offline, in [0, 1]: FLOP/s over the peak of the devices."""

    joules_per_sample: float | None = None
    """Offline energy of what could be metered, idle power included."""

    usd_per_1000_samples: float | None = None
    """Offline device time, at the price of an hour that the run was given."""

    truncated: int | None = None
    """Answers cut off at the limit of new tokens; None where nobody says how answers ended."""


Unit = Literal["", "s", "1/s", "bytes", "flops", "share", "J", "USD"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of `Costs`, as everything that shows it calls it."""

    key: str
    """Place in the JSON form below "costs"; of `Quantiles` the median is the number."""

    title: str
    """Full name, for the axis of a plot or a heading; it says the scenario where there is one."""

    symbol: str
    """Shortest name, without its unit."""

    unit: Unit = ""
    """Unit of the value."""

    shown_unit: str = ""
    """Unit in which tables and axes show it."""

    scale: float = 1.0
    """One `shown_unit`, in units of the value."""

    is_lower_better: bool = True

    @property
    def column(self) -> str:
        """Head of a table's column: the symbol with the unit that is shown."""
        return f"{self.symbol} {self.shown_unit}".rstrip()

    @property
    def axis(self) -> str:
        """Label of an axis: the title with the unit that is shown."""
        return f"{self.title} [{self.shown_unit}]" if self.shown_unit else self.title

    def quantiles(self, costs: Costs) -> Quantiles | None:
        """Where the figure is a median: all that is known of it."""
        found = self._found(costs)
        return found if isinstance(found, Quantiles) else None

    def value(self, costs: Costs) -> float | None:
        """The number, in `unit`; None: unknown."""
        found = self._found(costs)
        return found.p50 if isinstance(found, Quantiles) else found

    def shown(self, costs: Costs) -> float | None:
        """The number, in `shown_unit`."""
        value = self.value(costs)
        return None if value is None else value / self.scale

    def _found(self, costs: Costs) -> Quantiles | float | None:
        found: object = costs
        for name in self.key.split("."):
            found = getattr(found, name) if found is not None else None
        assert found is None or isinstance(found, Quantiles | int | float)
        return found


def _time(key: str, title: str, symbol: str) -> Figure:
    """A time that is shown in milliseconds."""
    return Figure(key=key, title=title, symbol=symbol, unit="s", shown_unit="ms", scale=1e-3)


_ALL = (
    Figure(
        key="visual_tokens_per_image",
        title="visual tokens per image",
        symbol="tokens/image",
    ),
    _time("single_stream.ttft_s", "time to first token, single stream", "TTFT"),
    _time("single_stream.preprocess_s", "preprocessing, single stream", "preprocess"),
    _time("single_stream.encode_s", "image encoding, single stream", "encode"),
    _time("single_stream.prefill_s", "prefill, single stream", "prefill"),
    _time("single_stream.per_token_s", "time per output token, single stream", "TPOT"),
    _time("single_stream.latency_s", "latency, single stream", "latency"),
    Figure(
        key="offline.samples_per_s",
        title="samples per second, offline",
        symbol="samples/s",
        unit="1/s",
        is_lower_better=False,
    ),
    Figure(
        key="offline.tokens_per_s",
        title="generated tokens per second, offline",
        symbol="tokens/s",
        unit="1/s",
        is_lower_better=False,
    ),
    _time("offline.device_seconds_per_sample", "device time per sample, offline", "device time"),
    Figure(
        key="peak_device_memory_bytes",
        title="peak device memory, offline",
        symbol="device memory",
        unit="bytes",
        shown_unit="GiB",
        scale=2.0**30,
    ),
    Figure(
        key="peak_host_memory_bytes",
        title="peak host memory, offline",
        symbol="host memory",
        unit="bytes",
        shown_unit="GiB",
        scale=2.0**30,
    ),
    Figure(
        key="flops_per_sample",
        title="FLOPs per sample",
        symbol="FLOPs",
        unit="flops",
        shown_unit="GFLOP",
        scale=1e9,
    ),
    Figure(
        key="mfu",
        title="model FLOPs utilisation, offline",
        symbol="MFU",
        unit="share",
        shown_unit="%",
        scale=1e-2,
        is_lower_better=False,
    ),
    Figure(
        key="joules_per_sample",
        title="energy per sample, offline",
        symbol="energy",
        unit="J",
        shown_unit="J",
    ),
    Figure(
        key="usd_per_1000_samples",
        title="price of 1,000 samples, offline",
        symbol="price/1,000",
        unit="USD",
        shown_unit="USD",
    ),
    Figure(key="truncated", title="truncated answers", symbol="truncated"),
)

FIGURES: Mapping[str, Figure] = {one.key: one for one in _ALL}
"""Every figure by its key, in the order in which reports show them."""

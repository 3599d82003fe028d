"""`vlmbench bench` on a tiny checkpoint: what it reports is what was done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlmbench.backends.bench.ceilings import Ceilings, measure
from vlmbench.backends.bench.latency import Quantiles, quantiles
from vlmbench.backends.bench.profiling import Stage, share
from vlmbench.cli.main import main


def bench(capsys: pytest.CaptureFixture[str], *flags: str) -> Any:
    assert main(["bench", "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def test_latency_is_measured_alone_and_at_once_for_every_size_and_splitting(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--sides", "60,120", "--requests", "3", "--new-tokens", "4")
    found = bench(capsys, "--model", f"idefics2:{checkpoint}", "--device", "cpu", *flags)
    assert [one["split_images"] for one in found] == [False, True]
    for document, visual_tokens in zip(found, (64, 320), strict=True):
        measured = document["latencies"]
        assert [(m["side"], m["at_once"]) for m in measured] == [
            (60, 1),
            (60, 3),
            (120, 1),
            (120, 3),
        ]
        for one in measured:
            assert one["n"] == 3
            assert one["visual_tokens"] == visual_tokens
            assert 0 < one["first_token"]["p50"] <= one["total"]["p99"]
            assert one["total"]["p50"] <= one["total"]["p90"] <= one["total"]["p99"]
            assert one["flops"] > 1e6
        assert document["ceilings"]["flops_per_s"] > 1e8


def test_a_profile_divides_the_whole_time_among_the_stages(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--profile", "--workloads", "vqav2", "--pictures", "2", "--no-split")
    model = f"idefics2:{checkpoint}"
    [found] = bench(capsys, "--model", model, "--device", "cpu", *flags)
    [profile] = found["profiles"]
    names = ["pictures", "vision", "connector", "prefill", "decode", "sampling", "python"]
    assert [stage["name"] for stage in profile["stages"]] == names
    assert sum(s["seconds"] for s in profile["stages"]) == pytest.approx(profile["seconds"])
    assert all(stage["seconds"] >= 0 for stage in profile["stages"])
    assert profile["work"]["num_crops_encoded"] == 2
    assert profile["work"]["num_crops_requested"] == profile["n"]
    flops = {stage["name"]: stage["flops"] for stage in profile["stages"]}
    assert flops["vision"] and flops["connector"] and flops["prefill"] and flops["decode"]


def test_a_table_is_printed(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--sides", "60", "--requests", "1", "--new-tokens", "2", "--no-split"]
    assert main(["bench", "--model", f"idefics2:{checkpoint}", "--device", "cpu", *flags]) == 0
    title, header, line = capsys.readouterr().out.strip().splitlines()
    assert "float32, measured ceilings" in title
    assert header.split()[0] == "side" and line.split()[:3] == ["60", "1", "64"]


def test_a_backend_without_a_model_has_latency_only(capsys: pytest.CaptureFixture[str]) -> None:
    [found] = bench(capsys, "--model", "constant:yes", "--sides", "60", "--requests", "2")
    assert found["ceilings"] is None
    assert found["latencies"][0]["first_token"] is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--profile"], "does not tell its stages: leave --profile out"),
        (["--sides", "60,x"], "--sides 60,x: write numbers of pixels"),
        (["--sides", "0"], "--sides 0: write numbers"),
        (["--workloads", "docvaq"], "no workload named 'docvaq'; did you mean docvqa"),
        (["--requests", "0"], "'0' is no whole number from 1"),
        (["--batch-size", "2"], "no use for the setting batch_size"),
    ],
)
def test_a_mistake_is_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--model", "constant:yes", *flags]) == 2
    assert message in capsys.readouterr().err


def test_quantiles_are_values_that_occurred() -> None:
    assert quantiles([None, None]) is None
    assert quantiles([3.0]) == Quantiles(p50=3.0, p90=3.0, p99=3.0)
    values = [float(n) for n in range(1, 101)]
    assert quantiles([*reversed(values), None]) == Quantiles(p50=50.0, p90=90.0, p99=99.0)


def test_shares_are_of_what_the_machine_can_do() -> None:
    stage = Stage(name="prefill", seconds=2.0, flops=10.0, num_bytes=1.0)
    assert share(stage, Ceilings(flops_per_s=20.0, bytes_per_s=5.0)) == (0.25, 0.1)
    assert share(Stage(name="python", seconds=2.0), Ceilings(1.0, 1.0)) == (None, None)
    assert share(Stage(name="decode", seconds=0.0, flops=0.0), Ceilings(1.0, 1.0)) == (None, None)


def test_ceilings_of_a_cpu_are_possible_ones() -> None:
    found = measure("cpu", "float32")
    assert 1e7 < found.flops_per_s < 1e14
    assert 1e7 < found.bytes_per_s < 1e13

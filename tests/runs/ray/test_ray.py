"""Runs on a Ray cluster: the scores of a local run, whatever dies."""

from __future__ import annotations

from typing import Any

TASKS = ("--tasks", "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench")
PARROT = ("--model", "parrot:0", *TASKS)


def test_scores_are_those_of_a_local_run_whoever_reads_the_data(
    started: Any, reference: dict[str, bytes], cluster: Any, on_ray: Any
) -> None:
    cluster.add()
    cluster.add()
    for data in ("nodes", "driver"):
        code, _, stderr = on_ray(data, *PARROT, "--ray-data", data)
        assert code == 0, stderr
        print(stderr)
        assert started.scores(data) == reference
        records = started.records(data)
        assert len({(r["task"], r["id"]) for r in records}) == len(records) == 73
        assert len({r["worker"] for r in records}) == 2

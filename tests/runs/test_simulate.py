"""The simulator against arithmetic, and against real runs on workers that only sleep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from vlmbench.cli.main import main
from vlmbench.errors import VlmbenchError
from vlmbench.runs import forecast, rates
from vlmbench.runs.dispatch import Dispatcher
from vlmbench.runs.folder.usage import sessions
from vlmbench.runs.plan import Item
from vlmbench.runs.rates import Rates
from vlmbench.runs.simulate import simulate, spot_losses, static_shares_s

TOLERANCE = 0.15
"""Of the makespan: what a prediction is for, with workers on a machine that others use too."""


def items(count: int, cost: float = 1.0) -> list[Item]:
    return [
        Item(task="t@s", index=n, id=str(n), image_group=str(n), cost=cost) for n in range(count)
    ]


def second(item: Item) -> float:
    return item.cost


def test_one_worker_takes_the_sum() -> None:
    found = simulate(items(100), second, [7.0])
    assert found.makespan_s == pytest.approx(107)
    assert found.paid_s == pytest.approx(107)
    assert found.idle_share == pytest.approx(7 / 107), "it loads, and then it works"
    assert (found.tail_s, found.again_s, found.num_leases) == (0, 0, 1)


def test_leases_are_the_dispatchers() -> None:
    dispatcher = Dispatcher(items(1000))
    expected = len(list(iter(lambda: dispatcher.lease(4), None)))
    assert simulate(items(1000), second, [0.0] * 4).num_leases == expected


def test_two_workers_end_within_a_least_lease_of_each_other() -> None:
    found = simulate(items(1000), second, [0.0, 100.0])
    assert (1000 + 100) / 2 <= found.makespan_s <= (1000 + 100) / 2 + 32
    assert found.tail_s <= 32


def test_a_lost_worker_costs_what_it_had_not_answered_and_is_replaced() -> None:
    found = simulate(items(100), second, [0.0], losses=[(40.5, [0])], replace_s=10)
    assert found.makespan_s == pytest.approx(40.5 + 10 + 60)
    assert found.again_s == pytest.approx(0.5)
    assert found.paid_s == pytest.approx(40.5 + 60), "it is not paid while it is away"
    assert found.num_losses == 1


def test_a_pool_that_is_lost_for_good_is_no_endless_loop() -> None:
    with pytest.raises(ValueError, match="all workers are lost"):
        simulate(items(100), second, [0.0, 0.0], losses=[(5.0, [0, 1])])


def test_pulled_leases_shrug_off_a_late_node_where_static_shares_wait_for_it() -> None:
    joins = [0.0] * 15 + [50.0]
    pulled = simulate(items(1600), second, joins).makespan_s
    assert static_shares_s(items(1600), second, 16) == 100
    assert pulled < 150, "the share of the late one would end at 150"


def test_more_workers_cost_more_and_at_last_gain_nothing() -> None:
    known = Rates(seconds_a_cost={"t@s": 1.0}, load_s=10.0, num_samples=100)
    pool = forecast.Pool(usd_per_hour=3600.0)
    rows = forecast.figures(items(400), known, (1, 4, 400), pool)["workers"]
    times, prices = [[row[key] for row in rows] for key in ("makespan_s", "usd")]
    assert times[0] > times[1] > times[2] == 11
    assert prices[0] == 410 and prices[2] == 400 * 11
    assert prices == sorted(prices)


def test_losses_come_as_often_as_they_should_and_take_whole_nodes() -> None:
    lost = spot_losses(0.5, 32, 8, Random(1))
    events = [next(lost) for _ in range(4000)]
    hours = events[-1][0] / 3600
    assert 4000 / hours / 4 == pytest.approx(0.5, rel=0.05)
    assert {tuple(gone) for _, gone in events} == {
        tuple(range(start, start + 8)) for start in (0, 8, 16, 24)
    }


SPLITS = {
    "vqav2@validation": (214_354, 40_504),
    "textvqa@validation": (5_000, 3_166),
    "docvqa@validation": (5_349, 1_286),
    "mmmu@validation": (900, 900),
    "mathvista@testmini": (1_000, 1_000),
    "mmbench@dev-en": (4_329, 1_164),
}
"""Samples of the public splits, and their pictures or questions."""


def public_splits() -> list[Item]:
    """Items of the splits' sizes: a question costs 60, a picture that is new about 2,000."""
    return [
        Item(
            task=task,
            index=n,
            id=str(n),
            image_group=str(n % groups),
            cost=60.0 + 2000.0 * (n < groups),
        )
        for task, (count, groups) in SPLITS.items()
        for n in range(count)
    ]


def test_the_worked_example_of_the_readme() -> None:
    made = public_splits()
    pool = forecast.Pool(losses_per_hour=0.05, usd_per_hour=2.5)
    found = forecast.figures(made, rates.assumed(0.1, made), (1, 8, 64, 1024), pool)
    text = forecast.described(found)
    assert text in (Path(__file__).parents[2] / "README.md").read_text("utf-8"), text


TASKS = ("--tasks", "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench")
SLEEPY = ("--model", "parrot:0.1", "--batch-size", "1", *TASKS)


@pytest.fixture(scope="module")
def pilot(started: Any) -> Any:
    """A run of one worker that takes a tenth of a second a sample; its folder and its items."""
    code, _, stderr = started.finish("pilot", *SLEEPY)
    assert code == 0, stderr
    return started


def planned(started: Any) -> list[Item]:
    from vlmbench.runs.prepare import prepare

    names = ["vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench"]
    return [*prepare("constant:yes", names, data_dir=started.data_dir).items]


def real(started: Any, out: str) -> tuple[list[float], float]:
    """When each worker was ready, from the first one on, and how long it then took."""
    begun = sorted({session.started for session in sessions(started.folder / out)})
    end = max(record["time"] for record in started.records(out))
    return [ready - begun[0] for ready in begun], end - begun[0]


def predicted(pilot: Any, joins: Sequence[float], **lost: Any) -> float:
    known = rates.measured(pilot.folder / "pilot", planned(pilot))
    return simulate(planned(pilot), known, joins, **lost).makespan_s


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_real_run_takes_as_long_as_predicted(pilot: Any, num_workers: int) -> None:
    out = f"real-{num_workers}"
    code, _, stderr = pilot.finish(out, *SLEEPY, "--workers", str(num_workers))
    assert code == 0, stderr
    joins, took = real(pilot, out)
    assert len(joins) == num_workers
    assert predicted(pilot, joins) == pytest.approx(took, rel=TOLERANCE)


def test_a_real_run_with_a_planted_loss_takes_as_long_as_predicted(pilot: Any) -> None:
    deadly = ("--model", "parrot:0.1/docvqa@validation/70001", "--batch-size", "1", *TASKS)
    code, _, stderr = pilot.finish("planted", *deadly, "--workers", "1")
    assert code == 0, stderr
    before, after = sorted({s.started for s in sessions(pilot.folder / "planted")})[:2]
    times = sorted(record["time"] for record in pilot.records("planted"))
    lost = max(time for time in times if time < after)
    [_, *_], took = real(pilot, "planted")
    found = predicted(
        pilot, [0.0], losses=[(lost + 0.09 - before, [0])], replace_s=after - lost - 0.09
    )
    assert found == pytest.approx(took, rel=TOLERANCE)


def test_the_command_shows_a_row_for_each_number_of_gpus(
    pilot: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["plan", "--model", "constant:yes", *TASKS, "--data-dir", str(pilot.data_dir)]
    command += ["--simulate", "--like", str(pilot.folder / "pilot"), "--usd-per-hour", "2"]
    assert main([*command, "--gpus", "1,2,64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["gpus"] for row in found["workers"]] == [1, 2, 64]
    assert found["seconds_of_work"] == pytest.approx(7.3, rel=TOLERANCE)
    assert main([*command, "--spot-loss", "60", "--node-gpus", "1"]) == 0
    assert "done again" in capsys.readouterr().out


def test_a_task_without_times_is_refused_with_the_way_out(pilot: Any, tmp_path: Path) -> None:
    other = [*planned(pilot), *items(1)]
    with pytest.raises(VlmbenchError, match=r"has no times of t@s: run some samples .*--limit 200"):
        rates.measured(pilot.folder / "pilot", other)


def test_a_simulation_without_a_pilot_says_how_to_get_one(
    started: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["plan", "--model", "constant:yes", *TASKS, "--data-dir", str(started.data_dir)]
    assert main([*command, "--simulate"]) == 2
    assert "--like runs/pilot" in capsys.readouterr().err
    assert main(command) == 0, "the plan alone needs none"

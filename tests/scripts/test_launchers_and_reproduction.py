"""The scripts that a user with GPUs starts, here on made-up rows, without GPU, hub or SLURM."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
README = SCRIPTS.parent / "README.md"
SHELL_SCRIPTS = [
    "launch_multi_gpu.sh",
    "launch_ray.sh",
    "launch_slurm.sh",
    "reproduce_idefics2.sh",
]

BACKEND = '''
"""Answers "yes", and takes the setting of Idefics2 that the reproduction is about."""

from vlmbench.backends.settings import LocalSettings as Settings
from vlmbench.schema import Probe, Response


def open(argument, settings):
    return Yes()


class Yes:
    def generate(self, requests):
        for request in requests:
            yield Response(id=request.id, text="yes", finish_reason="stop")

    def probe(self):
        return Probe(model="yes")

    def close(self):
        pass
'''

SRUN = """#!/usr/bin/env bash
# two tasks on one node
for rank in 0 1; do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NTASKS=2 "$@" &
done
wait
"""

RAY = """#!/usr/bin/env bash
# a cluster is what `start --head` leaves running
echo "ray $*" >>calls
case $1 in
    status) [[ -f head ]] ;;
    start)
        touch head
        [[ $* == *--head* ]] || exit 0
        trap "echo stopped >>calls; exit" TERM
        sleep 60 2>/dev/null & wait $!
        ;;
esac
"""

Started = subprocess.CompletedProcess[str]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Started]:
    """A function: a script, its arguments and environment -> the ended process."""
    package = tmp_path / "site" / "yes-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: yes\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[vlmbench.backends]\nyes = yes_backend\n")
    (tmp_path / "site" / "yes_backend.py").write_text(BACKEND)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(SRUN)
    (programs / "vlmbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vlmbench "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SLURM_")
    } | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path / "site"),
        "OMP_NUM_THREADS": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }

    def run(script: str, *arguments: str, **variables: str) -> Started:
        copy = tmp_path / "checkout" / "scripts" / script  # beside it there is no .venv
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SCRIPTS / script, copy)
        return subprocess.run(
            [str(copy), *arguments],
            capture_output=True,
            text=True,
            env=environment | variables,
            cwd=tmp_path,
            timeout=120,
        )

    return run


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_a_script_parses_and_can_be_started(script: str) -> None:
    assert (SCRIPTS / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(SCRIPTS / script)], check=True)
    assert "\nset -euo pipefail\n" in (SCRIPTS / script).read_text(encoding="utf-8")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    subprocess.run(["shellcheck", str(SCRIPTS / script)], check=True)


def test_the_multi_gpu_launcher_plans_a_worker_for_each_gpu(
    start: Callable[..., Started], hub_copies: Path
) -> None:
    asked = ("--model", "constant:yes", "--tasks", "vqav2", "--data-dir", str(hub_copies))
    ended = start("launch_multi_gpu.sh", *asked, "--dry-run", CUDA_VISIBLE_DEVICES="0,1,2")
    assert ended.returncode == 0, ended.stderr
    assert "3 workers are given" in ended.stdout


def test_the_slurm_launcher_runs_a_process_a_task_and_scores_once(
    start: Callable[..., Started], hub_copies: Path, tmp_path: Path
) -> None:
    asked = ["--model", "constant:yes", "--tasks", "vqav2", "--data-dir", str(hub_copies)]
    ended = start("launch_slurm.sh", *asked, "--out", "run", SLURM_JOB_ID="1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("vqav2@validation") == 1
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["status"] == "complete"
    logs = sorted((tmp_path / "run").glob("responses-*.jsonl"))
    assert [log.name for log in logs] == ["responses-0.jsonl", "responses-1.jsonl"]
    ids = [json.loads(line)["id"] for log in logs for line in log.read_text().splitlines()]
    assert len(ids) == len(set(ids)) == manifest["tasks"]["vqav2@validation"]["num_selected"]


def test_the_slurm_launcher_outside_of_slurm_says_what_to_do(start: Callable[..., Started]) -> None:
    ended = start("launch_slurm.sh", "--model", "constant:yes", "--tasks", "vqav2")
    assert ended.returncode == 2 and "sbatch" in ended.stderr


def commands_of_the_readme() -> list[list[str]]:
    lines = re.findall(r"^scripts/launch_ray\.sh (.*)", README.read_text("utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.fixture
def ray(tmp_path: Path, start: Callable[..., Started]) -> Callable[[], list[str]]:
    """Stand-ins for ray and vlmbench that note how they were called; what they have noted."""
    stub = '#!/bin/sh\necho "vlmbench $*" >>calls\n'
    for name, script in {"ray": RAY, "vlmbench": stub}.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    return lambda: (tmp_path / "calls").read_text().splitlines()


def test_the_ray_launcher_starts_a_head_runs_on_it_and_ends_it(
    start: Callable[..., Started], ray: Callable[[], list[str]]
) -> None:
    given, _ = commands_of_the_readme()
    ended = start("launch_ray.sh", *given, PORT="7001")
    assert ended.returncode == 0, ended.stderr
    head = f"{socket.gethostname()}:7001"
    assert f"scripts/launch_ray.sh join {head}" in ended.stderr
    [started] = [call for call in ray() if call.startswith("ray start")]
    assert "--head --port 7001" in started and "--disable-usage-stats" in started
    assert ray()[-2:] == [f"vlmbench run --ray {head} {shlex.join(given)}", "stopped"]


def test_the_ray_launcher_leaves_a_cluster_that_was_there_alone(
    start: Callable[..., Started], ray: Callable[[], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "head").touch()
    assert start("launch_ray.sh", "--model", "constant:yes").returncode == 0
    assert ray() == ["ray status", "vlmbench run --ray auto --model constant:yes"]


def test_the_ray_launcher_joins_a_head_and_says_how(
    start: Callable[..., Started], ray: Callable[[], list[str]]
) -> None:
    _, given = commands_of_the_readme()
    assert start("launch_ray.sh", *given).returncode == 0
    assert ray() == [f"ray start --address {given[1]} --block --disable-usage-stats"]
    ended = start("launch_ray.sh", "join")
    assert ended.returncode == 2 and "join HEAD:PORT" in ended.stderr


def test_the_reproduction_plans_both_settings_and_writes_nothing(
    start: Callable[..., Started], hub_copies: Path, tmp_path: Path
) -> None:
    ended = start(
        "reproduce_idefics2.sh", "--data-dir", str(hub_copies), "--dry-run", MODEL="yes:yes"
    )
    assert ended.returncode == 0, ended.stderr
    for tokens in ("64", "320"):
        assert f"run folder runs/reproduce-idefics2/{tokens}-tokens" in ended.stdout
    for task in ("mmmu@test", "mathvista@testmini", "mmbench@test-en", "vqav2@test-dev"):
        assert ended.stdout.count(task) == 2
    assert not (tmp_path / "runs").exists()


def test_the_reproduction_shows_each_score_beside_the_papers(
    start: Callable[..., Started], hub_copies: Path, tmp_path: Path
) -> None:
    ended = start(
        "reproduce_idefics2.sh",
        *("--data-dir", str(hub_copies)),
        MODEL="yes:yes",
        TASKS="textvqa@validation,mathvista@testmini",
        OUT="both",
    )
    assert ended.returncode == 0, ended.stderr
    few, many = re.split(r"^0 shots$", ended.stdout, flags=re.MULTILINE)[1:]
    assert "70.4" in few and "51.6" in few and "Idefics2-8B (64 tok)" in few
    assert "73.0" in many and "51.4" in many and "Idefics2-8B (320 tok)" in many
    assert "yes:yes, no split (run)" in few and "yes:yes, split (run)" in many
    settings = [
        json.loads((tmp_path / "both" / f"{tokens}-tokens" / "run.json").read_text())["model"]
        for tokens in (64, 320)
    ]
    assert [model["split_images"] for model in settings] == [False, True]

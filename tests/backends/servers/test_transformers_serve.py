"""`transformers serve` in a process of its own: another code base serves the bundled checkpoint.

It needs `pip install -c constraints.txt -e '.[serve]'`.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from vlmbench import evaluate
from vlmbench.runs.folder.costs import FIGURES
from vlmbench.runs.folder.responses import records

CHECKPOINT = Path(__file__).parents[3] / "model" / "checkpoints" / "tiny"

NEEDS = ("fastapi", "uvicorn", "openai", "starlette")

START_S = 300.0
"""It imports all of transformers' serving before it listens."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that has the checkpoint loaded."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"transformers serve needs {', '.join(missing)}: the extra `serve`")
    home = tmp_path_factory.mktemp("home")
    (home / "hub").mkdir()  # whose models it lists
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = home / "log"
    command = [
        *(sys.executable, "-m", "transformers.cli.transformers", "serve", str(CHECKPOINT)),
        *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while not _is_ready(url):
            said = log.read_text(errors="replace")[-2000:]
            assert process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx2.RequestError:
        return False


def test_its_answers_are_ours_and_its_latency_is_that_of_the_stream(
    server: str, tmp_path: Path
) -> None:
    """Other wordings of the prompt than this style's forbid words, which it cannot do."""
    run = evaluate(
        f"openai:{server}#{CHECKPOINT}",
        "docvqa@mini",
        limit=10,
        prompt_style="lmms",
        out=tmp_path / "served",
    )
    evaluate(
        "idefics2:tiny",
        "docvqa@mini",
        limit=10,
        prompt_style="lmms",
        latency=0,
        out=tmp_path / "ours",
        device="cpu",
    )
    served, ours = (
        {record.id: record.response for record in records(tmp_path / name)}
        for name in ("served", "ours")
    )
    assert len(served) == 10 and served == ours
    costs = run.tasks[0].costs
    alone = costs.single_stream
    assert alone is not None
    assert alone.n == 8  # of ten, two warm up, as a server keeps what it was asked
    assert alone.place.network == "loopback" and not alone.place.device
    assert (alone.compared, alone.disagreements) == (8, 0)
    ttft_s, token_s, latency_s = (
        FIGURES[f"single_stream.{name}"].value(costs)
        for name in ("ttft_s", "per_token_s", "latency_s")
    )
    assert ttft_s is not None and token_s is not None and latency_s is not None
    assert 0 < token_s < ttft_s < latency_s
    assert costs.offline is not None and costs.offline.samples_per_s is not None
    assert costs.offline.num_devices is None  # a client does not see them

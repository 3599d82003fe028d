"""Runs whose answers are known, their report, and a browser to look at it with."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vlmbench.reports.viewer import Report, build
from vlmbench.runs.execute import execute
from vlmbench.runs.prepare import prepare
from vlmbench.schema import Probe, Request, Response, Timings
from vlmbench.task.binding import PromptSettings

HOSTILE = (
    '<script>window.wasRun = 1</script>"><img src=x onerror="window.wasRun = 2">\u2028</script'
)
HEBREW = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd\n\tsecond line"


class Known:
    """A backend that answers by the place of a question among those asked: see `ANSWERS`."""

    def __init__(self, answers: list[str | None]) -> None:
        self._answers = answers

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        for number, request in enumerate(requests):
            text = self._answers[number % len(self._answers)]
            yield Response(
                id=request.id,
                text=text,
                finish_reason="error" if text is None else "length" if number % 5 == 4 else "stop",
                error="OutOfMemoryError: the picture was too large" if text is None else "",
                visual_tokens=64
                * sum(not isinstance(p, str) for p in request.messages[-1].content),
                prompt_tokens=100 + number,
                generated_tokens=len((text or "").split()),
                timings=Timings(first_token_s=0.05, total_s=0.1 + number / 100),
            )

    def probe(self) -> Probe:
        return Probe(model="known", device="cpu")

    def close(self) -> None:
        pass


ANSWERS: list[str | None] = ["yes", "B", HOSTILE, "2", None, HEBREW, "The answer is (C).", ""]
OTHERS: list[str | None] = ["yes", "no", "2", "3", "A", "D", "The answer is (C).", "red"]


@pytest.fixture(scope="session")
def make_run(hub_copies: Path) -> Callable[..., Path]:
    """A function: folder, answers and tasks -> the folder, with a finished run in it."""

    def make(folder: Path, answers: list[str | None], *tasks: str, **prompt: Any) -> Path:
        planned = prepare(
            "constant:known",
            tasks,
            out=folder,
            data_dir=hub_copies,
            prompt=PromptSettings(**prompt),
        )
        execute(planned, backend=Known(answers), command=["vlmbench", "run", "a b"])
        return folder

    return make


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> list[Path]:
    folder = tmp_path_factory.mktemp("finished")
    tasks = ("vqav2", "mmmu", "mmbench", "docvqa@test")
    return [
        make_run(folder / "first", ANSWERS, *tasks),
        make_run(folder / "second", OTHERS, *tasks),
    ]


@pytest.fixture(scope="session")
def report(
    tmp_path_factory: pytest.TempPathFactory, two_runs: list[Path], hub_copies: Path
) -> Report:
    """The report of `two_runs`, with pictures."""
    folder = tmp_path_factory.mktemp("out") / "a report"
    return build(two_runs, folder, data_dir=hub_copies, has_plots=False)


@pytest.fixture(scope="session")
def hostile() -> str:
    """A response that would run, were it taken for markup."""
    return HOSTILE


@pytest.fixture(scope="session")
def hebrew() -> str:
    """A response from right to left, with a line break and a tab."""
    return HEBREW


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser with `page(address)`; the test is skipped where none is installed."""
    spec = importlib.util.spec_from_file_location(
        "chromium", Path(__file__).with_name("chromium.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chromium"] = module
    spec.loader.exec_module(module)
    program = next(filter(None, map(shutil.which, module.PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(module.PROGRAMS)} is installed")
    browser = module.Chromium(program)
    yield browser
    browser.close()

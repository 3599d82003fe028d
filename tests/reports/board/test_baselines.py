"""results/baselines.yaml holds to its schema, and what breaks it is named."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlmbench.errors import VlmbenchError
from vlmbench.reports.board import baselines

FILE = Path(__file__).parents[3] / "results" / "baselines.yaml"


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """A function: fields of a result that change -> the error about a file with that result."""

    def load(changes: dict[str, Any], **system_changes: Any) -> str:
        result = {
            "benchmark": "docvqa@test",
            "metric": "anls",
            "score": 74.0,
            "shots": 0,
            "tokens": 320,
            "source": "card",
            "split_is": "printed",
            "trust": "authors",
        } | changes
        result = {key: value for key, value in result.items() if value != "left out"}
        system = {"name": "Model", "kind": "open", "parameters": "8B", "results": [result]}
        content = {
            "schema_version": 1,
            "compiled": datetime.date(2026, 1, 1),
            "sources": {"card": {"title": "A card", "address": None, "read": "yes"}},
            "systems": [system | system_changes],
        }
        path = tmp_path / "baselines.yaml"
        path.write_text(yaml.safe_dump(content))
        if not changes and not system_changes:
            baselines.load(path)
            return ""
        with pytest.raises(VlmbenchError) as raised:
            baselines.load(path)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return load


def test_the_file_has_every_record() -> None:
    systems = baselines.load()
    results = [result for system in systems for result in system.results]
    assert len([r for r in results if r.is_verified]) == 473
    assert len({r.system for r in results if r.is_verified}) == 84
    assert len(results) == 483
    assert {r.trust for r in results if not r.is_verified} == {"memory", "low"}
    assert all(r.source for r in results if r.is_verified)


def test_known_figures_are_in_it() -> None:
    (system,) = baselines.choose(baselines.load(), ["Idefics2-8B (320 tok)"])
    scores = {f"{r.task}@{r.split}": r.score for r in system.results}
    assert scores["docvqa@test"] == 74.0
    assert scores["textvqa@validation"] == 73.0
    assert scores["vqav2@test-dev"] == 81.2
    assert (system.num_parameters, system.kind) == (8_000_000_000, "open")


def test_a_source_is_quoted_or_goes() -> None:
    quoted = {r.source.key for s in baselines.load() for r in s.results if r.source}
    assert quoted == set(yaml.safe_load(FILE.read_text())["sources"])


def test_a_good_record_is_taken(broken: Callable[..., str]) -> None:
    assert broken({}) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"score": 740}, "score (740) is no score", id="beyond 100"),
        pytest.param({"score": float("nan")}, "is no score", id="nan"),
        pytest.param({"score": "74"}, "score ('74') is no int or float", id="text for a number"),
        pytest.param({"score": True}, "score (True)", id="truth for a number"),
        pytest.param({"score": "left out"}, "lacks score", id="missing field"),
        pytest.param({"scores": 1}, "no field named 'scores'", id="unknown field"),
        pytest.param({"metric": "anlz"}, "is none of", id="unknown metric"),
        pytest.param({"source": "car"}, "did you mean card?", id="unknown source"),
        pytest.param({"source": None}, "a verified result has one", id="verified by nothing"),
        pytest.param({"shots": -1}, "shots (-1)", id="negative shots"),
        pytest.param({"shots": "few"}, "shots ('few')", id="shots in words"),
        pytest.param({"tokens": "81 a tile"}, "tokens ('81 a tile')", id="tokens in words"),
        pytest.param({"tokens": 0}, "is less than 1", id="no tokens"),
        pytest.param({"trust": "me"}, "trust ('me') is none of", id="unknown trust"),
        pytest.param({"benchmark": "docvqa@"}, "is no TASK", id="no split after @"),
        pytest.param({"harness": ""}, "harness ('') is empty", id="empty text"),
        pytest.param({"verified": "no"}, "verified ('no')", id="truth in words"),
    ],
)
def test_a_bad_record_is_named(
    broken: Callable[..., str], changes: dict[str, Any], message: str
) -> None:
    error = broken(changes)
    assert "system 1 (Model), result 1" in error
    assert message in error


def test_a_bad_system_is_named(broken: Callable[..., str]) -> None:
    assert "system 1 (Model): parameters ('8 billion')" in broken({}, parameters="8 billion")
    assert "kind ('closed') is none of" in broken({}, kind="closed")
    assert "results ([]) is empty" in broken({}, results=[])


def test_names_are_chosen_with_wildcards_and_misspellings_answered() -> None:
    systems = baselines.load()
    assert len(baselines.choose(systems, ["claude 3*"])) == 3
    with pytest.raises(VlmbenchError, match="did you mean"):
        baselines.choose(systems, ["Claude 4 Opus"])

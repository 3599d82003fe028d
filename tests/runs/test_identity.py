"""What a run may be resumed as: places and addresses may change, what can move a score may not."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.manifest import DataRecord, Manifest, changes
from vlmbench.task.binding import PromptSettings


def manifest(model: Mapping[str, Any], **data: Any) -> Manifest:
    record = DataRecord(version=1, source="a", revision="local", fingerprint="f", num_rows=3)
    return Manifest(
        vlmbench="1",
        packages={},
        hardware={},
        model=model,
        generation={},
        prompt=PromptSettings(),
        data={"docvqa@validation": replace(record, **data)},
        status="complete",
        started=None,
        finished=None,
        tasks={},
    )


def local(spec: str, **more: Any) -> dict[str, Any]:
    return {"spec": spec, "revision": "", "weights": "w1", "files": "f1", **more}


SAME = [
    (local("idefics2:tiny"), local("idefics2:/home/me/tiny")),
    (local("transformers:ck", adapter="a"), local("transformers:/other/ck", adapter="a")),
    ({"spec": "openai:http://a:8000#m"}, {"spec": "openai:http://b:9/v1#m"}),
    ({"spec": "openai:http://a:8000#m"}, {"spec": "openai:http://a:8000,http://b:8000#m"}),
]
OTHER = [
    (local("idefics2:tiny"), local("transformers:tiny"), "model.spec"),
    (local("idefics2:tiny"), local("idefics2:tiny", weights="w2"), "model.weights"),
    (local("idefics2:tiny"), local("idefics2:tiny", files="f2"), "model.files"),
    (local("idefics2:ck", adapter="a"), local("idefics2:ck", adapter="b"), "model.adapter"),
    ({"spec": "openai:http://a:8000#m"}, {"spec": "openai:http://a:8000#n"}, "model.spec"),
    ({"spec": "openai:http://a:8000"}, {"spec": "openai:http://b:8000"}, "model.spec"),
    ({"spec": "constant:a"}, {"spec": "constant:b"}, "model.spec"),
    ({"spec": "constant:a#m"}, {"spec": "constant:b#m"}, "model.spec"),
]


@pytest.mark.parametrize(("before", "now"), SAME)
def test_a_model_is_known_by_its_digests(before: dict[str, Any], now: dict[str, Any]) -> None:
    assert changes(manifest(before), manifest(now)) == []


@pytest.mark.parametrize(("before", "now", "what"), OTHER)
def test_another_model_is_told(before: dict[str, Any], now: dict[str, Any], what: str) -> None:
    assert any(line.startswith(what) for line in changes(manifest(before), manifest(now)))


def test_data_are_known_by_their_fingerprint() -> None:
    model = {"spec": "constant:a"}
    before = manifest(model)
    assert changes(before, manifest(model, source="/other", revision="main")) == []
    [line] = changes(before, manifest(model, fingerprint="g"))
    assert line.startswith("data.docvqa@validation.fingerprint")
    imported = manifest(model, fingerprint="")
    [line] = changes(imported, manifest(model, fingerprint="", source="/other"))
    assert line.startswith("data.docvqa@validation.source")


def test_a_run_goes_on_with_a_copy_of_its_data(hub_copies: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(hub_copies, copy)
    given: dict[str, Any] = {"out": tmp_path / "run"}
    vlmbench.evaluate("constant:A", "docvqa", limit=2, data_dir=hub_copies, **given)
    resumed = vlmbench.evaluate("constant:A", "docvqa", limit=3, data_dir=copy, **given)
    assert resumed.num_missing == 0
    with pytest.raises(VlmbenchError, match=r"model\.spec was"):
        vlmbench.evaluate("constant:B", "docvqa", limit=3, data_dir=copy, **given)

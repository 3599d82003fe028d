"""Runs that show grey pictures, or another sample's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import vlmbench
from vlmbench.cli import main
from vlmbench.errors import VlmbenchError
from vlmbench.finished_runs import open_run
from vlmbench.mini.stream import DrawnPicture
from vlmbench.runner import Asking, TaskSource
from vlmbench.schema import Picture, Request, Sample
from vlmbench.shown_pictures import GREY, Exchange, Pictures


def requests(task: str, pictures: Pictures) -> list[tuple[Sample, Request]]:
    source = TaskSource(task, Asking(pictures=pictures), data_dir=None, tasks_dir=None)
    samples = [source.task.read(row) for row in source.rows]
    return [(sample, source.request(sample)) for sample in samples[:40]]


def shown(request: Request) -> list[Picture]:
    return [piece for piece in request.messages[-1].content if not isinstance(piece, str)]


def test_grey_pictures_have_the_sizes_of_the_samples_own() -> None:
    for sample, request in requests("mmmu@mini", "blank"):
        sizes = [picture.decode().size for picture in shown(request)]
        assert sorted(sizes) == sorted(picture.decode().size for picture in sample.images.values())
        for picture in shown(request):
            assert picture.decode().getextrema() == tuple((value, value) for value in GREY)


def test_another_sample_s_pictures_are_the_same_for_all_about_one_picture() -> None:
    asked = requests("vqav2@mini", "other")
    by_group: dict[str, set[bytes]] = {}
    for sample, request in asked:
        (picture,) = shown(request)
        assert picture.encoded() != sample.images[1].encoded()
        by_group.setdefault(sample.image_group, set()).add(picture.encoded())
    assert len(by_group) > 5 and all(len(found) == 1 for found in by_group.values())
    own = {sample.images[1].encoded() for sample, _ in asked}
    assert len(set.union(*by_group.values()) & own) == len(by_group) - 1, "each group's but one"


def test_a_sample_keeps_its_number_of_pictures() -> None:
    def of(group: str, *sides: int) -> Sample:
        images = {i + 1: DrawnPicture(Image.new("RGB", (n, n))) for i, n in enumerate(sides)}
        return Sample(id=group, image_group=group, question="?", images=images)

    samples = [of("a", 1, 2, 3), of("none"), of("b", 4, 5), of("c", 6)]
    exchange = Exchange(samples)
    sides = [[p.decode().width for p in exchange(s).images.values()] for s in samples]
    assert sides == [[4, 5, 4], [], [6, 6], [1]]
    with pytest.raises(VlmbenchError, match="no others to show"):
        Exchange([of("a", 1), of("a", 1)])


def test_the_control_is_part_of_the_run_s_identity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--model", "constant:A", "--tasks", "mmbench@mini", "--limit", "8"]
    out = ["--out", str(tmp_path)]
    assert main([*command, *out, "--pictures", "other"]) == 0
    manifest = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert manifest["prompt"]["pictures"] == "other"
    assert "other pictures" in open_run(tmp_path).title
    capsys.readouterr()
    assert main([*command, *out]) == 2
    assert 'prompt.pictures was "other", is now "own"' in capsys.readouterr().err


def test_as_a_call(tmp_path: Path) -> None:
    vlmbench.evaluate("constant:A", "mmbench@mini", out=tmp_path, limit=4, pictures="blank")
    assert "blank pictures" in open_run(tmp_path).title

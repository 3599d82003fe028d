"""Runs that show grey pictures, or another sample's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import vlmbench
from vlmbench.cli.main import main
from vlmbench.data.pictures import GREY, Exchange, MemoryPicture, Pictures
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.finished import open_run
from vlmbench.schema import Picture, Request, Sample
from vlmbench.task.binding import OwnTask, PromptSettings


def requests(task: str, pictures: Pictures) -> list[tuple[Sample, Request]]:
    source = OwnTask(task, PromptSettings(pictures=pictures), data_dir=None, tasks_dir=None)
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


def of(group: str, *sides: int) -> Sample:
    images = {i + 1: MemoryPicture(Image.new("RGB", (n, n))) for i, n in enumerate(sides)}
    return Sample(id=group, image_group=group, question="?", images=images)


def test_a_sample_keeps_its_number_of_pictures() -> None:
    samples = [of("a", 1, 2, 3), of("none"), of("b", 4, 5), of("c", 6)]
    exchange = Exchange(samples)
    sides = [[p.decode().width for p in exchange(s).images.values()] for s in samples]
    assert sides == [[4, 5, 4], [], [6, 6], [1]]


def test_groups_with_the_same_pictures_are_passed_over() -> None:
    samples = [of("a", 1), of("b", 1), of("c", 2)]
    exchange = Exchange(samples)
    assert [exchange(sample).images[1].decode().width for sample in samples] == [2, 2, 1]
    alike = Exchange(samples[:2])
    with pytest.raises(VlmbenchError, match="no others to show"):
        alike(samples[0])


class Missing(MemoryPicture):
    """A picture whose cell is empty."""

    def encoded(self) -> bytes:
        raise ValueError("holds no picture")


def test_a_missing_picture_fails_its_own_sample_and_no_other() -> None:
    missing = replace(of("b", 1), images={1: Missing(Image.new("RGB", (2, 2)))})
    samples = [of("a", 1), missing, of("c", 3)]
    exchange = Exchange(samples)
    assert exchange(samples[0]).images[1].decode().width == 3
    with pytest.raises(ValueError, match="holds no picture"):
        exchange(missing)


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


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(VlmbenchError, match="gray"):
        vlmbench.evaluate("constant:A", "mmbench@mini", pictures="gray")  # type: ignore[arg-type]
    with pytest.raises(VlmbenchError, match="blind shows no pictures"):
        vlmbench.evaluate("constant:A", "mmbench@mini", blind=True, pictures="other")


def test_a_run_from_before_the_option_goes_on_and_opens(tmp_path: Path) -> None:
    command = ["run", "--model", "constant:A", "--tasks", "mmbench@mini", "--limit", "4"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    manifest = json.loads((tmp_path / "run.json").read_text("utf-8"))
    del manifest["prompt"]["pictures"]
    (tmp_path / "run.json").write_text(json.dumps(manifest), "utf-8")
    assert not open_run(tmp_path).is_control
    assert main([*command, "--out", str(tmp_path), "--resume"]) == 0


def test_controls_are_no_runs_on_the_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pictures in ("own", "other"):
        vlmbench.evaluate(
            "constant:A", "mmbench@mini", out=tmp_path / pictures, limit=4, pictures=pictures
        )
    folders = [str(tmp_path / "own"), str(tmp_path / "other")]
    capsys.readouterr()
    assert main(["board", *folders]) == 0
    assert "other pictures (control)" in capsys.readouterr().out
    assert main(["board", *folders, "--where", "kind=run"]) == 0
    assert "(control)" not in capsys.readouterr().out

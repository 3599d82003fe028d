"""Paths in data: what lies outside of the data folder is not read, unless that is wanted."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlmbench.cli.main import main
from vlmbench.data import splits
from vlmbench.data.policy import Policy
from vlmbench.data.rows import Rows
from vlmbench.task import loading

SPLIT = loading.parse_spec("textvqa@validation", None)[1]
ANSWERS = ["a"] * 10


def png(colour: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (colour, 0, 0)).save(file, "PNG")
    return file.getvalue()


def as_jsonl(folder: Path, images: list[str]) -> None:
    rows = [
        {"question_id": n, "image_id": f"i{n}", "question": "what?", "image": image}
        | {"answers": ANSWERS, "ocr_tokens": []}
        for n, image in enumerate(images)
    ]
    (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_parquet(folder: Path, images: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[Mapping[str, Any]] = [
        {"question_id": n, "image_id": f"i{n}", "question": "what?"}
        | {"answers": ANSWERS, "ocr_tokens": [], "image": {"bytes": None, "path": image}}
        for n, image in enumerate(images)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "validation-00000-of-00001.parquet")


@pytest.fixture(params=[as_jsonl, as_parquet], ids=["jsonl", "parquet"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Rows]:
    """A function: images' cells -> rows of a folder data/textvqa in tmp_path."""

    def load(*images: str, allow_outside: bool = False) -> Rows:
        folder = tmp_path / "data" / "textvqa"
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "private.png").write_bytes(png(200))
        (folder / "ok.png").write_bytes(png())
        (folder / "inner").mkdir(exist_ok=True)
        (folder / "inner" / "ok.png").write_bytes(png(9))
        if not (folder / "link.png").is_symlink():
            (folder / "link.png").symlink_to(tmp_path / "private.png")
            (folder / "links").symlink_to(tmp_path)
            os.mkfifo(folder / "pipe.png")
        request.param(folder, list(images))
        policy = Policy(allow_outside=allow_outside)
        return splits.load("textvqa", SPLIT, tmp_path / "data", policy=policy)

    return load


def test_pictures_in_the_folder_are_read(loaded: Callable[..., Rows]) -> None:
    tiny = base64.b64encode(png(7)).decode()
    rows = loaded("ok.png", "inner/ok.png", "./ok.png", tiny, f"data:image/png;base64,{tiny}")
    read = [rows.picture_bytes(n, "image") for n in range(5)]
    assert read == [png(), png(9), png(), png(7), png(7)]


def test_pictures_outside_of_the_folder_are_refused(
    loaded: Callable[..., Rows], tmp_path: Path
) -> None:
    outside = [
        *(str(tmp_path / "private.png"), "../../private.png", "inner/../../../private.png"),
        *("link.png", "links/private.png", "/proc/self/environ", "/etc/passwd"),
    ]
    rows = loaded(*outside)
    for number, name in enumerate(outside):
        with pytest.raises(ValueError, match=r"outside of .*--allow-outside") as caught:
            rows.picture_bytes(number, "image")
        assert repr(name) in str(caught.value)


def test_what_is_no_file_is_refused_in_any_case(loaded: Callable[..., Rows]) -> None:
    names = [
        *("http://127.0.0.1:9/x.png", "file:///etc/passwd", "hf://datasets/x", "s3://b/x"),
        *("\\\\host\\x", "a\0b", "\u00e9" * 250, "/dev/zero", "pipe.png", "/no/where.png", "~/x"),
    ]
    for is_allowed in (False, True):
        rows = loaded(*names, allow_outside=is_allowed)
        for number in range(len(names)):
            with pytest.raises(ValueError, match=r"is a URL|is neither base64 nor a file"):
                rows.picture_bytes(number, "image")


def test_outside_is_read_where_it_is_meant(loaded: Callable[..., Rows], tmp_path: Path) -> None:
    rows = loaded(
        str(tmp_path / "private.png"), "../../private.png", "link.png", allow_outside=True
    )
    assert {rows.picture_bytes(n, "image") for n in range(3)} == {png(200)}


def test_a_run_fails_these_samples_and_no_others(
    loaded: Callable[..., Rows], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded("ok.png", "../../private.png", "inner/ok.png")
    command = ["run", "--model", "constant:a", "--tasks", "textvqa", "--workers", "1"]
    command += ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main(command) == 1
    log = (tmp_path / "run" / "responses-0.jsonl").read_text().splitlines()
    assert [record["response"] for record in map(json.loads, log)].count("a") == 2
    assert "--allow-outside" in capsys.readouterr().err
    assert main([*command, "--allow-outside"]) == 0


@pytest.mark.parametrize("name", ["a*", "[x]", "a::b", "q?", "{a,b}", "a!b", "%41", "~a"])
@pytest.mark.parametrize("write", [as_jsonl, as_parquet])
def test_a_data_folder_is_a_path_and_no_pattern(
    tmp_path: Path, name: str, write: Callable[[Path, list[str]], None]
) -> None:
    """Folders that the name would match as a pattern hold other rows."""
    others = {"a*": "ab", "[x]": "x", "a::b": "b", "q?": "qq", "{a,b}": "a", "a!b": "a", "%41": "A"}
    for folder, images in ((others.get(name, "other"), ["x"] * 3), (name, ["ok.png"])):
        (tmp_path / folder / "textvqa").mkdir(parents=True)
        write(tmp_path / folder / "textvqa", images)
    rows = splits.load("textvqa", SPLIT, tmp_path / name)
    assert len(rows) == 1

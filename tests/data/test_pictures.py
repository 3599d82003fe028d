"""Pictures stay on disk until they are asked for; what is wrong with one is said then."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from vlmbench.data import Split, splits
from vlmbench.data.rows import Rows
from vlmbench.task import loading

Copy = Callable[..., Path]


def test_reading_all_rows_reads_no_picture(
    load: Callable[[str], Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a picture was read")

    loaded = {found.name: load(found.name) for found in loading.every()}
    monkeypatch.setattr(Rows, "picture_bytes", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    for name, rows in loaded.items():
        samples = [loading.find(name).read(row) for row in rows]
        assert all(sample.images for sample in samples)
        with pytest.raises(AssertionError, match="a picture was read"):
            samples[0].images[1].decode()


MEASURE = """
import re, sys
from pathlib import Path
from vlmbench.data import splits
from vlmbench.task import loading

def peak():  # not ru_maxrss, which a process inherits from the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

textvqa = loading.find("textvqa")
rows = splits.load("textvqa", textvqa.splits[0], Path(sys.argv[1]))
before = peak()
samples = [textvqa.read(row) for row in rows]
assert all(sample.images for sample in samples)
samples[0].images[1].encoded()
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_pictures(
    hub_copy: Copy, made_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    rows = made_rows("textvqa", "validation") * 8
    noise = random.Random(0)
    rows = [row | {"image": {"bytes": noise.randbytes(1 << 20), "path": None}} for row in rows]
    folder = hub_copy("textvqa", "validation", rows)
    for _ in range(2):  # the first makes the memory-mapped copy
        command = [sys.executable, "-c", MEASURE, str(folder)]
        measured = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(measured.stdout) < 24, measured  # MiB, of 96 MiB of pictures


def encoded(colour: str) -> bytes:
    content = BytesIO()
    Image.new("RGB", (4, 3), colour).save(content, "PNG")
    return content.getvalue()


def colours(rows: Rows, *columns: str) -> list[dict[int, tuple[int, ...]]]:
    found = []
    for row in rows:
        pictures = row.pictures(*columns, are_optional=True)
        pixels = {n: picture.decode().getpixel((0, 0)) for n, picture in pictures.items()}
        found.append(pixels)
    return found  # type: ignore[return-value]


RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "tsv"])
def test_a_cell_may_be_a_list_of_pictures(suffix: str, tmp_path: Path) -> None:
    red, blue = encoded("red"), encoded("blue")
    texts = [base64.b64encode(picture).decode() for picture in (red, blue)]
    path = tmp_path / f"test.{suffix}"
    if suffix == "parquet":
        stored = [{"bytes": picture, "path": None} for picture in (red, blue)]
        rows: list[dict[str, Any]] = [{"images": cell} for cell in (stored, stored[:1], [], None)]
        kinds: dict[str, Any] = {
            "images": datasets.Sequence(datasets.Image()),
            "cover": datasets.Image(),
        }
        kinds["id"] = datasets.Value("string")
        rows = [row | {"id": "1", "cover": stored[1]} for row in rows]
        datasets.Dataset.from_list(rows, features=datasets.Features(kinds)).to_parquet(path)
    elif suffix == "jsonl":
        lists: tuple[Any, ...] = (texts, texts[:1], [], None)
        lines = (json.dumps({"id": 1, "images": cell, "cover": texts[1]}) for cell in lists)
        path.write_text("\n".join(lines))
    else:
        spelt = (str(texts), str(texts[:1]), "", "")
        lines = (f"1\t{cell}\t{texts[1]}" for cell in spelt)
        path.write_text("\n".join(["id\timages\tcover", *lines]))
    rows_found = splits.load("own", Split(name="test", pictures=("images", "cover")), tmp_path)
    assert colours(rows_found, "images") == [{1: RED, 2: BLUE}, {1: RED}, {}, {}]
    assert colours(rows_found, "images", "cover")[0] == {1: RED, 2: BLUE, 3: BLUE}
    two = rows_found[0].picture("images")
    assert two is not None
    with pytest.raises(ValueError, match="row 0: column 'images' holds 2 pictures in a list"):
        two.encoded()


def cells(*values: Any) -> list[dict[str, Any]]:
    fixed = {"question_id": 1, "image_id": "a", "question": "?", "answers": ["a"]}
    return [fixed | {"image": value} for value in values]


def test_an_empty_cell_is_no_picture(hub_copy: Copy) -> None:
    content = BytesIO()
    Image.new("L", (3, 2)).save(content, "PNG")
    picture = {"bytes": content.getvalue(), "path": None}
    folder = hub_copy("textvqa", "validation", cells(picture, None, picture, None))
    rows = splits.load("textvqa", loading.find("textvqa").splits[0], folder)
    pictures = [row.picture("image") for row in rows]
    assert [picture is not None for picture in pictures] == [True, False, True, False]
    assert pictures[2] and pictures[2].decode().size == (3, 2)
    assert rows[0].picture("question") is None and rows[0].picture("image_2") is None


def test_a_picture_may_be_a_path_beside_the_file(tmp_path: Path) -> None:
    import datasets

    Image.new("L", (3, 2)).save(tmp_path / "page.png")
    paths = ("page.png", "images/ab.png")  # the second less its mark would be base64
    rows = cells(*({"bytes": None, "path": path} for path in paths))
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "validation.parquet")
    found = list(splits.load("textvqa", loading.find("textvqa").splits[0], tmp_path))
    first, second = found[0].picture("image"), found[1].picture("image")
    assert first and second and first.decode().size == (3, 2)
    with pytest.raises(ValueError, match=r"row 1: column 'image' is neither base64 nor a file in"):
        second.decode()


def test_a_broken_picture_names_row_and_column(hub_copy: Copy) -> None:
    """Whatever is wrong with it: the runner records it and goes on."""
    noise = random.Random(0)
    whole = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        file = BytesIO()
        Image.effect_noise((24, 16), 80).convert("RGB").save(file, kind)
        whole.append(file.getvalue())
    broken = [b"", b"not a picture"]
    for content in whole * 20:
        changed = bytearray(content[: noise.randrange(20, len(content))])
        for _ in range(3):
            changed[noise.randrange(min(len(changed), 40))] = noise.randrange(256)
        broken.append(bytes(changed))
    values = [{"bytes": content, "path": None} for content in broken]
    rows = splits.load(
        "textvqa",
        loading.find("textvqa").splits[0],
        hub_copy("textvqa", "validation", cells(*values)),
    )
    failures = 0
    for index, row in enumerate(rows):
        picture = row.picture("image")
        assert picture is not None
        try:
            with warnings.catch_warnings(action="ignore"):
                picture.decode()
        except ValueError as error:
            assert f"row {index}: column 'image'" in str(error)
            failures += 1
    assert failures > 100

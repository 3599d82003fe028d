"""Files that are small and cost minutes, gigabytes or for ever: each is one line, at once."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idefics2.config import Idefics2Config
from vlmbench.backends import weight_files
from vlmbench.backends.checkpoint import check, folder_of
from vlmbench.cli.main import main
from vlmbench.data.predictions.sheets import read_xlsx
from vlmbench.errors import VlmbenchError
from vlmbench.reports.board import baselines

DEEP = "[" * 200_000
TINY = folder_of("tiny")
LIMIT_S = 120.0
MOST_MEMORY = 300e6


@pytest.fixture(autouse=True)
def soon_and_small() -> Iterator[None]:
    """Each test ends in seconds and takes little memory; a wait for a pipe is broken up."""
    stuck = threading.Timer(LIMIT_S, os._exit, (99,))
    stuck.start()
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    stuck.cancel()
    assert peak < MOST_MEMORY


def sheet(path: Path, rows: str, repeat: str = "", times: int = 0) -> Path:
    """A workbook of one sheet: rows of XML, then `repeat` so many times."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["index", "prediction"])
    plain = io.BytesIO()
    book.save(plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name != "xl/worksheets/sheet1.xml":
                target.writestr(name, content)
                continue
            head, end = content.split(b"</sheetData>")
            with target.open(name, "w", force_zip64=True) as file:
                file.write(head + rows.encode())
                for _ in range(times):
                    file.write(repeat.encode() * 1000)
                file.write(b"</sheetData>" + end)
    return path


def cell(place: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>x</t></is></c>'


@pytest.mark.parametrize(
    ("rows", "repeat", "times"),
    [
        (f'<row r="1048576">{cell("A1048576")}</row>', "", 0),
        (f'<row r="1000000000">{cell("A1000000000")}</row>', "", 0),
        (f'<row r="2">{cell("XFD2")}</row>', "", 0),
        ("", "<row><c><v>1</v></c></row>", 400),
        ("", f"<row>{cell('A2')}</row>", 200),
        ("", "<row/>", 2_000),
        ("<row>", "<c/>", 3_000),
    ],
    ids=["far row", "farther row", "far cell", "rows", "many rows", "empty rows", "cells"],
)
def test_a_sheet_that_unpacks_without_end(
    tmp_path: Path, rows: str, repeat: str, times: int
) -> None:
    path = sheet(tmp_path / "bomb.xlsx", rows, repeat, times)
    assert path.stat().st_size < 2e6
    with pytest.raises(VlmbenchError) as caught:
        read_xlsx(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_large_sheet_of_answers_is_read(tmp_path: Path) -> None:
    rows = "".join(
        f'<row r="{n}"><c r="A{n}"><v>{n}</v></c><c r="B{n}" t="inlineStr"><is><t>answer {n * n}'
        "</t></is></c></row>"
        for n in range(2, 3_002)
    )
    assert len(read_xlsx(sheet(tmp_path / "plain.xlsx", rows)).rows) == 3_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.json", DEEP),
        ("object.json", '{"a":' * 200_000),
        ("line.jsonl", '{"id": "1", "response": ' + DEEP),
        ("digits.jsonl", '{"id": ' + "9" * 100_000 + ', "response": "a"}'),
        ("table.tsv", "index\tprediction\n" + '"' * 100_001),
        ("word", "\x00" * 10),
    ],
)
def test_a_prediction_file(
    tmp_path: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    assert main(["score", "--tasks", "textvqa", "--predictions", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["score", "--tasks", "textvqa", "--predictions", "PIPE"],
        ["run", "--model", "replay:PIPE", "--tasks", "textvqa@mini"],
        ["run", "--model", "constant:a", "--tasks", "textvqa@mini", "--ids", "@PIPE"],
        ["run", "--model", "idefics2:FOLDER", "--tasks", "textvqa@mini"],
        ["plot", "--training", "PIPE"],
        ["board", "RUN"],
        ["view", "RUN"],
        ["train", "PIPE"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_no_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "PIPE", tmp_path / "FOLDER/config.json", tmp_path / "RUN/run.json"):
        path.parent.mkdir(exist_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
    replaced = [word.replace("FOLDER", str(tmp_path / "FOLDER")) for word in command]
    assert main(replaced) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"),
        *("generation_config.json", "model.safetensors.index.json", "adapter_config.json"),
        "model.safetensors",
    ],
)
def test_a_checkpoint_with_deep_json(
    checkpoint: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = DEEP.encode()
    if name == "model.safetensors":
        content = len(content).to_bytes(8, "little") + content
    (checkpoint / name).write_bytes(content)
    assert main(["ask", "--model", str(checkpoint), "What?"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


Change = Callable[[dict[str, dict[str, object]]], None]


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("text_config", "num_hidden_layers", 10**9),
        ("vision_config", "num_hidden_layers", 10**9),
        ("perceiver_config", "resampler_depth", 2**31),
        ("text_config", "vocab_size", 10**400),
        ("text_config", "hidden_size", 2**62),
        ("perceiver_config", "resampler_n_latents", 10**12),
        ("vision_config", "image_size", 10**300),
    ],
)
def test_a_config_with_numbers_that_no_model_has(
    checkpoint: Path, part: str, key: str, value: int
) -> None:
    content = json.loads((checkpoint / "config.json").read_text())
    content[part][key] = value
    (checkpoint / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="which no model of this kind has"):
        Idefics2Config.from_json(checkpoint / "config.json")
    if value > 10**18 or key in ("num_hidden_layers", "resampler_depth"):
        with pytest.raises(VlmbenchError, match="which no model has"):
            check(str(checkpoint))


@pytest.mark.parametrize("length", [10**9, 2**63, 2**64 - 1, 200_000_000])
def test_a_header_of_weights_is_read_only_up_to_a_limit(checkpoint: Path, length: int) -> None:
    path = checkpoint / "model.safetensors"
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{}")
        file.truncate(2**31)  # as sparse as a file gets
    with pytest.raises(VlmbenchError, match="no whole safetensors file"):
        weight_files.weights_digest(checkpoint)


@pytest.mark.parametrize("name", ["/etc/passwd", "../model.safetensors", "a/b.safetensors"])
def test_an_index_names_no_file_outside_of_its_folder(checkpoint: Path, name: str) -> None:
    index = {"weight_map": {"a": name}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(VlmbenchError, match="outside of its folder"):
        weight_files.weights_digest(checkpoint)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}]\n" for n in range(9)),
        "[" * 20_000,
        "x" * (2**24 + 1),
        "a: 9" + "9" * 10_000,
    ],
    ids=["aliases", "nested", "large", "digits"],
)
def test_yaml_of_baselines(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(VlmbenchError):
        baselines.load(tmp_path / "b.yaml")

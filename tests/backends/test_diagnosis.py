"""Checkpoint folders as trainings leave them: what they lack is one line with the way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vlmbench.backends import diagnosis
from vlmbench.backends.registry import check, identity, open_backend
from vlmbench.backends.weight_files import GIT_LFS
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Request

both = pytest.mark.parametrize("name", ["idefics2", "transformers"])


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def edit(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | fields))


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def a_trainers_output(folder: Path) -> None:
    for step in ("checkpoint-500", "checkpoint-1000"):
        shutil.copytree(folder, folder / step, ignore=shutil.ignore_patterns("checkpoint-*"))
    without_config(folder)


def a_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(GIT_LFS + b"v1\noid sha256:a\n")


@both
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_config, "copy is no checkpoint's folder: it has no config.json$"),
        (a_trainers_output, "its checkpoints have: give .*/checkpoint-1000 or .*/checkpoint-500$"),
        (a_pointer, "is a Git-LFS pointer, not the file: get that with `git lfs pull`"),
    ],
)
def test_a_folder_that_is_no_whole_checkpoint_is_refused_before_anything_is_loaded(
    name: str, spoil: Callable[[Path], None], message: str, copy: Path
) -> None:
    spoil(copy)
    with pytest.raises(VlmbenchError, match=message):
        check(f"{name}:{copy}", {})


def template_of(folder: Path) -> str:
    template = diagnosis.chat_template(folder)
    assert template
    return template


def take_templates(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "chat_template.json").unlink(missing_ok=True)
    for path in folder.glob("*config.json"):
        content = json.loads(path.read_text())
        content.pop("chat_template", None)
        path.write_text(json.dumps(content))


PLACES: dict[str, Callable[[Path, str], object]] = {
    "jinja": lambda folder, text: (folder / "chat_template.jinja").write_text(text),
    "json": lambda folder, text: edit(folder / "chat_template.json", chat_template=text),
    "tokenizer": lambda folder, text: edit(folder / "tokenizer_config.json", chat_template=text),
    "one of several": lambda folder, text: edit(
        folder / "tokenizer_config.json",
        chat_template=[
            {"name": "tool_use", "template": "no"},
            {"name": "default", "template": text},
        ],
    ),
}


@both
@pytest.mark.parametrize("place", PLACES)
def test_the_chat_template_is_found_wherever_transformers_looks(
    name: str, place: str, copy: Path, asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = open_backend(f"{name}:{copy}", device="cpu")
    expected = {answer.id: answer.text for answer in whole.generate(asked[:2])}
    template = template_of(copy)
    take_templates(copy)
    PLACES[place](copy, template)
    moved = open_backend(f"{name}:{copy}", device="cpu")
    assert {answer.id: answer.text for answer in moved.generate(asked[:2])} == expected
    assert "template" not in capsys.readouterr().err
    assert "prompts" not in identity(f"{name}:{copy}", {})


@both
def test_bare_prompts_are_told_and_recorded(
    name: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_templates(copy)
    backend = open_backend(f"{name}:{copy}", device="cpu")
    (notice,) = backend.probe().notices
    assert "has no chat template, so prompts are bare text" in notice
    assert f"vlmbench: {notice}\n" in capsys.readouterr().err
    assert "no chat template" in str(identity(f"{name}:{copy}", {})["prompts"])


def test_a_template_written_for_text_gets_text(copy: Path, asked: list[Request]) -> None:
    take_templates(copy)
    text = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    edit(copy / "tokenizer_config.json", chat_template=text)
    backend: Any = open_backend(f"transformers:{copy}", device="cpu")
    assert backend.prepare(asked[0]).text.strip() == "user: <image>Which is it?"


@pytest.mark.parametrize("dtype", ["auto", "torch.bfloat16", "fp8"])
def test_a_dtype_that_is_none_is_named(copy: Path, dtype: str) -> None:
    edit(copy / "config.json", dtype=dtype)
    with pytest.raises(VlmbenchError, match=f"config.json has dtype '{dtype}', which is no dtype"):
        open_backend(f"transformers:{copy}", device="cpu")


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("it ran",))


def test_a_pickle_that_would_run_code_is_one_line(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save({**weights, "evil": Evil()}, copy / "pytorch_model.bin")
    with pytest.raises(VlmbenchError, match="its weights are a pickle with more than tensors"):
        open_backend(f"transformers:{copy}", device="cpu")
    assert "it ran" not in capsys.readouterr().out


def test_a_models_own_code_runs_only_where_it_is_trusted(copy: Path) -> None:
    edit(copy / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (copy / "mine.py").write_text("raise LookupError('own code ran')\n")
    with pytest.raises(VlmbenchError, match="give --trust-remote-code if you trust them, or serve"):
        open_backend(f"transformers:{copy}", device="cpu")
    with pytest.raises(VlmbenchError, match="own code ran"):
        open_backend(f"transformers:{copy}", device="cpu", trust_remote_code=True)
    trusted = identity(f"transformers:{copy}", {"trust_remote_code": True})["remote_code"]
    (copy / "mine.py").write_text("raise LookupError('other code ran')\n")
    assert identity(f"transformers:{copy}", {"trust_remote_code": True})["remote_code"] != trusted


def test_a_device_map_gives_the_same_answers(tiny: Path, asked: list[Request]) -> None:
    pytest.importorskip("accelerate")
    plain = open_backend(f"transformers:{tiny}", device="cpu")
    spread = open_backend(f"transformers:{tiny}", device_map="auto", dtype="float32")
    expected = {answer.id: answer.text for answer in plain.generate(asked[:3])}
    assert {answer.id: answer.text for answer in spread.generate(asked[:3])} == expected


@both
def test_transparent_and_large_pictures_look_alike_to_both_backends(
    name: str, tiny: Path, ask: Callable[..., Request], picture: Callable[..., Any]
) -> None:
    import io

    from PIL import Image

    stored = picture(60, 40, 3)
    page = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    page.paste(stored.decode().crop((0, 0, 20, 40)), (0, 0))
    white = Image.alpha_composite(Image.new("RGBA", page.size, "white"), page).convert("RGB")

    def request(image: Image.Image) -> Request:
        file = io.BytesIO()
        image.save(file, "PNG")
        return ask("one", type(stored)(file.getvalue()), "Which is it?", max_new_tokens=12)

    backend = open_backend(f"{name}:{tiny}", device="cpu")
    (transparent,) = backend.generate([request(page)])
    (plain,) = backend.generate([request(white)])
    assert transparent.text == plain.text
    assert backend.probe().settings["transparency"] == "on white"
    small = open_backend(f"{name}:{tiny}", device="cpu", max_side=30)
    (scaled,) = small.generate([request(white)])
    (given,) = backend.generate([request(white.resize((30, 20), Image.Resampling.LANCZOS))])
    assert scaled.text == given.text
    assert identity(f"{name}:{tiny}", {"max_side": 30})["max_side"] == 30

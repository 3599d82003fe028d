"""A checkpoint's whole walk, from files to an answer, and the user's mistakes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoProcessor, Idefics2Processor, PreTrainedTokenizerFast
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

import idefics2
from idefics2.__main__ import main
from idefics2.chat import RELEASED_TEMPLATE

SPECIAL = ["<unk>", "<s>", "</s>", "<fake_token_around_image>", "<image>", "<end_of_utterance>"]
BOS_ID, EOS_ID, FAKE_ID, IMAGE_ID, END_ID = range(257, 262)
NUM_LATENTS = 3
QUESTION = "Which is it?"


def byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: index for index, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS_ID)]
    )
    return tokenizer


@pytest.fixture(scope="module")
def theirs(small: Callable[..., dict[str, Any]], theirs_of: Callable[..., Any]) -> Any:
    content = small(image_token_id=IMAGE_ID, text={"vocab_size": 262, "eos_token_id": EOS_ID})
    return theirs_of(content, seed=2)


@pytest.fixture(scope="module")
def their_images() -> Idefics2ImageProcessorPil:
    half = [0.5] * 3
    size = {"longest_edge": 56, "shortest_edge": 16}
    return Idefics2ImageProcessorPil(
        do_image_splitting=True, image_mean=half, image_std=half, size=size
    )


@pytest.fixture(scope="module")
def folder(theirs: Any, their_images: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny instruct model, all files as the installed transformers writes them."""
    folder = tmp_path_factory.mktemp("tiny")
    theirs.generation_config.eos_token_id = [EOS_ID, END_ID]
    theirs.generation_config.bad_words_ids = [[FAKE_ID], [IMAGE_ID]]
    theirs.save_pretrained(folder)
    Idefics2Processor(
        their_images,
        PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=byte_tokenizer(),
            **{"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        ),
        image_seq_len=NUM_LATENTS,
        chat_template=RELEASED_TEMPLATE,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    paths = [tmp_path_factory.mktemp("pictures") / name for name in ("a.png", "b.jpg")]
    dice = np.random.default_rng(0)
    for path, (height, width) in zip(paths, [(33, 50), (90, 20)], strict=True):
        Image.fromarray(dice.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return list(map(str, paths))


def ask(folder: Path, *arguments: str) -> int:
    return main(["ask", "--model", str(folder), "--device", "cpu", *arguments])


@pytest.mark.parametrize("split", [True, False])
def test_the_answer_is_transformers(
    folder: Path,
    theirs: Any,
    their_images: Any,
    pictures: list[str],
    capsys: pytest.CaptureFixture[str],
    split: bool,
) -> None:
    flag = "--split" if split else "--no-split"
    assert ask(folder, "--json", "--max-new-tokens", "12", *pictures, flag, QUESTION) == 0
    result = json.loads(capsys.readouterr().out)
    images = their_images(
        [Image.open(path).convert("RGB") for path in pictures],
        do_image_splitting=split,
        return_tensors="pt",
    )
    ids = torch.tensor([result["prompt_ids"]])
    generated = theirs.generate(ids, **images, max_new_tokens=12, do_sample=False)
    new_ids = generated[0, ids.shape[1] :].tolist()
    assert result["ids"] == [id for id in new_ids if id not in (EOS_ID, END_ID)]
    assert len(result["ids"]) > 5


def test_json_tells_what_the_model_saw(
    folder: Path, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, "--json", "--max-new-tokens", "2", *pictures, QUESTION) == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert output.err == ""
    assert result["visual_tokens"] == result["prompt_ids"].count(IMAGE_ID) == 2 * 5 * NUM_LATENTS
    assert len(result["grids"]) == 10
    assert result["grids"][4] == [33 // 4, 50 // 4]
    assert len(result["ids"]) == 2
    assert result["finish_reason"] == "length"
    assert list(result["timings"]) == ["preprocess_s", "encode_s", "prefill_s", "decode_s"]
    assert all(seconds > 0 for seconds in result["timings"].values())
    words = byte_tokenizer().decode(result["prompt_ids"])
    assert words == f"User: {QUESTION}\nAssistant:"  # the space is transformers 5's


def test_splitting_is_the_checkpoints_own_unless_told(
    folder: Path, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    counts = []
    for flags in ([], ["--split"], ["--no-split"]):
        command = ["--json", "--max-new-tokens", "1", *flags, pictures[0], QUESTION]
        assert ask(folder, *command) == 0
        counts.append(json.loads(capsys.readouterr().out)["visual_tokens"])
    assert counts == [5 * NUM_LATENTS, 5 * NUM_LATENTS, NUM_LATENTS]


def test_text_alone_goes_to_stdout(
    folder: Path, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, processor = idefics2.load(folder)
    images = [Image.open(path) for path in pictures]
    expected = idefics2.answer(model, processor, images, QUESTION, max_new_tokens=5)
    assert ask(folder, "--max-new-tokens", "5", *pictures, QUESTION) == 0
    output = capsys.readouterr()
    assert (output.out, output.err) == (expected.text + "\n", "")


def test_the_answer_ends_at_a_stop_id_and_has_no_bad_word(folder: Path) -> None:
    model, processor = idefics2.load(folder)
    ids = idefics2.answer(model, processor, [], QUESTION, max_new_tokens=9).ids
    stop = next(id for id in ids if id != ids[0])
    stopping = replace(processor, stop_ids=(stop,))
    stopped = idefics2.answer(model, stopping, [], QUESTION, max_new_tokens=9)
    assert (stopped.ids, stopped.finish_reason) == (ids[: ids.index(stop)], "stop")
    barred = replace(processor, bad_ids=((ids[0],),))
    assert ids[0] not in idefics2.answer(model, barred, [], QUESTION, max_new_tokens=9).ids


def test_a_base_model_goes_on_after_the_question(folder: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(folder, tmp_path / "base"))
    (base / "chat_template.jinja").unlink()
    model, processor = idefics2.load(base)
    answer = idefics2.answer(
        model, processor, [Image.new("RGB", (9, 9))], "The picture shows", max_new_tokens=1
    )
    assert byte_tokenizer().decode(answer.prompt_ids) == " The picture shows"
    assert answer.prompt_ids[1] == FAKE_ID


def test_a_question_may_be_longer_than_a_files_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, "--max-new-tokens", "1", QUESTION * 25) == 0
    assert capsys.readouterr().err == ""


def test_dtypes_and_a_question_without_pictures(folder: Path) -> None:
    model, processor = idefics2.load(folder, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    answer = idefics2.answer(model, processor, [], "Hello", max_new_tokens=3)
    assert answer.visual_tokens == 0
    assert answer.grids == ()


@pytest.mark.parametrize(
    ("version", "compat"),
    [
        ("4.40.2", "release"),
        ("4.57.1", "release"),
        ("5.0.0", "transformers>=5"),
        (None, "release"),
    ],
)
def test_token_ids_are_those_of_the_transformers_that_wrote_the_folder(
    version: str | None,
    compat: idefics2.Compat,
    folder: Path,
    tmp_path: Path,
    pictures: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    content = json.loads((copy / "config.json").read_text())
    content |= {"transformers_version": version}
    (copy / "config.json").write_text(json.dumps(content))
    model, processor = idefics2.load(copy)
    assert processor.compat == compat
    images = [Image.open(path) for path in pictures]
    told = idefics2.load(folder, compat=compat).processor
    expected = told.chat([idefics2.Message("user", (*images, QUESTION))]).ids
    assert ask(copy, "--json", "--max-new-tokens", "1", *pictures, QUESTION) == 0
    assert tuple(json.loads(capsys.readouterr().out)["prompt_ids"]) == expected
    assert idefics2.answer(model, processor, images, QUESTION).prompt_ids == expected


def test_the_ids_of_a_transformers_5_folder_are_transformers_5s(
    folder: Path, pictures: list[str]
) -> None:
    theirs = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    ]
    text = theirs.apply_chat_template(messages, add_generation_prompt=True)
    image = Image.open(pictures[0])
    expected = theirs(text=text, images=[[image]])["input_ids"][0]
    processor = idefics2.load(folder).processor
    prompt = processor.chat([idefics2.Message("user", (image, QUESTION))])
    assert list(prompt.ids) == list(expected)


def test_a_trainers_checkpoint_is_asked_with_the_processor_of_another_folder(
    folder: Path, tmp_path: Path, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, "--max-new-tokens", "3", *pictures, QUESTION) == 0
    expected = capsys.readouterr().out
    run = tmp_path / "run" / "checkpoint-500"
    run.mkdir(parents=True)
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copyfile(folder / name, run / name)
    assert ask(run, *pictures, QUESTION) == 2
    missing = "no tokenizer.json, tokenizer_config.json, preprocessor_config.json"
    assert f"{missing}: give --processor a folder" in capsys.readouterr().err
    for path in (path for path in folder.iterdir() if not (run / path.name).exists()):
        shutil.copyfile(path, run.parent / path.name)
    assert ask(run, *pictures, QUESTION) == 2
    assert f"{missing}: give --processor {run.parent}" in capsys.readouterr().err
    found = ["--processor", str(run.parent)]
    assert ask(run, "--max-new-tokens", "3", *found, *pictures, QUESTION) == 0
    assert capsys.readouterr().out == expected


def test_an_adapter_beside_the_weights_is_said_and_changes_the_answer(
    folder: Path, tmp_path: Path, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = "base_model.model.model.text_model.layers.0.mlp.down_proj.lora"
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "lora_alpha": 8, "base_model_name_or_path": str(folder)}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    halves = {f"{name}_A.weight": torch.randn(2, 64), f"{name}_B.weight": torch.randn(48, 2)}
    save_file(halves, adapter / "adapter_model.safetensors")
    beside = Path(shutil.copytree(folder, tmp_path / "beside"))
    shutil.copytree(adapter, beside, dirs_exist_ok=True)
    question = ["--max-new-tokens", "8", *pictures, QUESTION]
    commands = [(folder, []), (adapter, []), (beside, []), (folder, ["--adapter", str(adapter)])]
    said = []
    for model, flags in commands:
        assert ask(model, *flags, *question) == 0
        said.append(capsys.readouterr())
    assert said[0].err == ""
    assert all("merged the adapter" in output.err for output in said[1:])
    assert said[0].out != said[1].out == said[2].out == said[3].out


MISTAKES = {
    "no question": (["--model", "MODEL"], "question"),
    "no model": (["PICTURE", QUESTION], "--model"),
    "the question forgotten": (["--model", "MODEL", "PICTURE"], "the question comes last"),
    "no such picture": (["--model", "MODEL", "none.png", QUESTION], "none.png: no such file"),
    "a text for a picture": (["--model", "MODEL", "TEXT", QUESTION], "not a picture"),
    "a truncated picture": (["--model", "MODEL", "TRUNCATED", QUESTION], "truncated.png"),
    "no such model": (["--model", "./none", "PICTURE", QUESTION], "none"),
    "an unknown device": (["--model", "MODEL", "--device", "tpu9", QUESTION], "tpu9"),
    "an unknown dtype": (["--model", "MODEL", "--dtype", "int8", QUESTION], "int8"),
    "no tokens": (["--model", "MODEL", "--max-new-tokens", "0", QUESTION], "max_new_tokens"),
    "a word for a number": (["--model", "MODEL", "--max-new-tokens", "x", QUESTION], "'x'"),
    "an unknown flag": (["--model", "MODEL", "--sample", QUESTION], "--sample"),
    "too long": (["--model", "MODEL", "--max-new-tokens", "9999", QUESTION], "context of 512"),
}


@pytest.mark.parametrize(("command", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_status_2(
    folder: Path,
    pictures: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text, truncated = tmp_path / "text.txt", tmp_path / "truncated.png"
    text.write_text("text")
    truncated.write_bytes(Path(pictures[0]).read_bytes()[:300])
    names = {
        **{"MODEL": str(folder), "PICTURE": pictures[0]},
        **{"TEXT": str(text), "TRUNCATED": str(truncated)},
    }
    assert main(["ask", *(names.get(word, word) for word in command)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert message in output.err


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "processor_config.json", "model.safetensors"]
)
def test_a_missing_file_of_the_checkpoint_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / name).unlink()
    missing = "preprocessor_config.json" if name == "processor_config.json" else name
    with pytest.raises(ValueError, match=missing):
        idefics2.load(broken)


def test_an_unknown_command_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["answer"]) == 2
    assert capsys.readouterr().err.count("usage: ") == 2


def test_arguments_are_the_processs_own_unless_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["idefics2", "ask", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "--max-new-tokens N" in capsys.readouterr().out

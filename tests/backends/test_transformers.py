"""Other people's checkpoints: answers equal those of transformers' own `generate`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from vlmbench.backends.registry import identity, open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request, Response

Opened = Callable[..., Any]
Ask = Callable[..., Request]

LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message.role.upper() }}: "
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>\n{% else %}{{ part.text }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
TEXT: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 900,
    "bos_token_id": None,
    "eos_token_id": 257,
    "pad_token_id": 256,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


def answers(backend: Any, requests: Sequence[Request]) -> dict[str, Response]:
    return {response.id: response for response in backend.generate(requests)}


def byte_tokenizer(*special: str) -> Any:
    """Pads with the first special token, ends with the second; ids from 256 on."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: index for index, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[1]
    )


def scrambled(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.copy_(0.2 * noise + float("norm" in name and "weight" in name))
            else:
                scale = 0.5 if "embed" in name else 1.5 * parameter[0].numel() ** -0.5
                parameter.copy_(noise * scale)
    return model


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one size; the answer follows "ASSISTANT:", and no token of the template ends it.

    Its generation config samples, and punishes repetition.
    """
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("llava")
    tokenizer = byte_tokenizer("<pad>", "</s>", "<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, image_size=24, patch_size=8),
        text_config=LlamaConfig(**TEXT, vocab_size=270),
        image_token_index=258,
        image_seq_length=9,
    )
    model = scrambled(LlavaForConditionalGeneration(config))
    model.generation_config.update(
        eos_token_id=257, do_sample=True, temperature=0.3, top_p=0.5, repetition_penalty=1.3
    )
    model.save_pretrained(folder)
    LlavaProcessor(  # type: ignore[no-untyped-call]
        CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def idefics3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in as many parts as they are large, padded to the largest of a batch."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    from idefics2.chat import RELEASED_TEMPLATE

    folder = tmp_path_factory.mktemp("idefics3")
    names = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    places = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    config = Idefics3Config(
        vision_config={**VISION, "image_size": 32, "patch_size": 4},
        text_config={**TEXT, "model_type": "llama", "vocab_size": 320},
        image_token_id=258,
        scale_factor=2,
    )
    model = scrambled(Idefics3ForConditionalGeneration(config))
    model.generation_config.eos_token_id = [257, 261]
    model.save_pretrained(folder)
    Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        byte_tokenizer("<pad>", "</s>", *names, *places),
        image_seq_len=16,
        chat_template=RELEASED_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def plainly(folder: Path, request: Request) -> tuple[str, int]:
    """What the documentation of transformers says to do with one conversation."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    conversation = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": piece}
                if isinstance(piece, str)
                else {"type": "image", "image": piece.decode()}
                for piece in message.content
            ],
        }
        for message in request.messages
    ]
    inputs = processor.apply_chat_template(
        conversation,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    model.generation_config.update(temperature=None, top_p=None)
    with torch.inference_mode():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=request.max_new_tokens)
    num_prompt = inputs["input_ids"].shape[1]
    return processor.decode(ids[0, num_prompt:], skip_special_tokens=True), num_prompt


def test_a_processor_that_writes_the_pictures_tokens_itself_is_given_none(
    tmp_path: Path, ask: Ask, picture: Any
) -> None:
    """BLIP-2's, whose sign for a picture is a token with properties, and no text."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer = byte_tokenizer("<pad>", "</s>", "<image>")
    vision = {**VISION, "image_size": 24, "patch_size": 8}
    opt = {"model_type": "opt", "hidden_size": 48, "ffn_dim": 64, "word_embed_proj_dim": 48}
    counts = {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 270}
    qformer = {**VISION, "encoder_hidden_size": 32, "vocab_size": 9}
    config = Blip2Config(
        vision_config=vision,
        qformer_config=qformer,
        text_config={**opt, **counts, "eos_token_id": 257, "pad_token_id": 256},
        num_query_tokens=4,
        image_token_index=258,
    )
    scrambled(Blip2ForConditionalGeneration(config)).save_pretrained(tmp_path)
    images = BlipImageProcessorPil(size={"height": 24, "width": 24})
    make: Any = Blip2Processor
    make(images, tokenizer, num_query_tokens=4).save_pretrained(tmp_path)
    asked = [
        ask("one", picture(30, 30, 1), "Which is it?"),
        ask("other", picture(60, 30, 2), "What?"),
        ask("two", picture(9, 9, 3), picture(9, 9, 4), "Which?"),
    ]
    found = answers(open_backend(f"transformers:{tmp_path}", device="cpu"), asked)
    assert found["two"].error == "ValueError: this model takes one picture, not 2"
    assert [found[name].visual_tokens for name in ("one", "other")] == [4, 4]
    processor: Any = Blip2Processor.from_pretrained(tmp_path)
    model: Any = Blip2ForConditionalGeneration.from_pretrained(tmp_path)
    for item in asked[:2]:
        image, text = item.messages[0].content
        inputs = processor(images=image.decode(), text=[text], return_tensors="pt")  # type: ignore[union-attr]
        with torch.inference_mode():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=item.max_new_tokens)
        written = processor.decode(ids[0, -len(ids[0]) :], skip_special_tokens=True)
        assert written.endswith(str(found[item.id].text))


@pytest.mark.parametrize("kind", ["llava", "idefics3"])
def test_answers_of_a_batch_equal_plain_generation(
    kind: str, request: pytest.FixtureRequest, asked: list[Request]
) -> None:
    folder: Path = request.getfixturevalue(kind)
    chosen = [item for item in asked if not item.candidates and not item.answer_prefix]
    found = answers(open_backend(f"transformers:{folder}", device="cpu", batch_size=4), chosen)
    assert len({response.text for response in found.values()}) > 4
    for item in chosen:
        assert (found[item.id].text, found[item.id].prompt_tokens) == plainly(folder, item)
    assert found["blind"].visual_tokens == 0
    assert found["two"].visual_tokens == (18 if kind == "llava" else 128)


def test_candidates_are_ranked_by_what_the_model_says_of_them(
    llava: Path, ask: Ask, picture: Any
) -> None:
    """Reference: one forward pass over prompt and candidate; a letter, or words of any length."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(llava)  # type: ignore[no-untyped-call]
    model: Any = AutoModelForImageTextToText.from_pretrained(llava)
    candidates = ("A", "B", "C", "D", "E", "no", "yes")
    requests = [
        ask(str(seed), picture(30, 30, seed), "Which?", candidates=candidates) for seed in range(8)
    ]
    given = [
        answers(open_backend(f"transformers:{llava}", device="cpu", batch_size=size), requests)
        for size in (1, 3, 16)
    ]
    texts = [{id: response.text for id, response in found.items()} for found in given]
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0].values())) > 1
    for item in requests:
        shown = item.messages[0].content[0]
        assert not isinstance(shown, str)
        scores = {}
        for candidate in candidates:
            text = f"USER: <image>\nWhich? ASSISTANT: {candidate}"
            inputs = processor(text=text, images=shown.decode(), return_tensors="pt")
            with torch.inference_mode():
                log_probabilities = model(**inputs).logits[0, :-1].log_softmax(-1)
            ids = inputs["input_ids"][0, 1:]
            chosen = log_probabilities.gather(-1, ids[:, None])[:, 0]
            scores[candidate] = float(chosen[-len(candidate) - 1 :].sum())
        assert texts[0][item.id] == max(scores, key=lambda name: scores[name])


def test_the_checkpoints_repetition_penalty_holds_and_its_sampling_does_not(
    llava: Path, tmp_path: Path, asked: list[Request]
) -> None:
    folder = Path(shutil.copytree(llava, tmp_path / "copy"))

    def texts(**changes: Any) -> list[str | None]:
        path = folder / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        chosen = [item for item in asked if not item.candidates]
        backend = open_backend(f"transformers:{folder}", device="cpu")
        found = answers(backend, chosen)
        return [found[item.id].text for item in chosen]

    first = texts()
    assert texts(temperature=2.0, top_p=0.9, do_sample=False) == first
    assert texts(max_length=3, max_new_tokens=2) == first
    assert texts(repetition_penalty=1.0) != first


def test_a_text_with_the_pictures_sign_is_a_record(opened: Opened, ask: Ask, picture: Any) -> None:
    request = ask("1", picture(30, 30), "Is <image> a tag?")
    [response] = opened("transformers").generate([request])
    assert response.error == (
        "ValueError: the text holds '<image>', which this processor takes for a picture"
    )


def test_the_image_processor_is_set_by_name(tiny: Path, ask: Ask, picture: Any) -> None:
    """What is given by name is what the settings of ours come to, and is part of the identity."""
    model = f"transformers:{tiny}"

    def visual_tokens(**settings: Any) -> int | None:
        backend = open_backend(model, device="cpu", **settings)
        [response] = backend.generate([ask("1", picture(50, 33), "what?")])
        tokens: int | None = response.visual_tokens
        return tokens

    named = {"processor_arg": {"do_image_splitting": True}}
    assert visual_tokens(**named) == visual_tokens(split_images=True)
    assert visual_tokens(**named) != visual_tokens(split_images=False)
    assert identity(model, named) != identity(model, {})
    backend = open_backend(model, device="cpu", processor_arg={"size.longest_edge": 48})
    assert backend.probe().settings["processor_arg"] == {"size.longest_edge": 48}
    assert cast(Any, backend)._processor.image_processor.size["longest_edge"] == 48


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_pixels": 1000}, "its image processor has no max_pixels; it has do_convert_rgb"),
        ({"size": 30}, "size of its image processor is .*: write size.longest_edge"),
        ({"size.width": 30}, "size of its image processor has longest_edge, shortest_edge, not"),
        ({"size.longest_edge": "big"}, "and cannot be 'big'"),
        ({"do_image_splitting": 1}, "is (True|False), and cannot be 1"),
        ({"do_resize.x": True}, "do_resize of its image processor is True"),
    ],
)
def test_what_the_image_processor_does_not_have_is_a_mistake(
    tiny: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(VlmbenchError, match=message):
        open_backend(f"transformers:{tiny}", device="cpu", processor_arg=given)


def test_splitting_where_there_is_none_is_a_mistake(llava: Path) -> None:
    with pytest.raises(VlmbenchError, match="cannot split pictures: leave split_images out"):
        open_backend(f"transformers:{llava}", device="cpu", split_images=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "bert"}, "a bert model is none of transformers' image-text-to-text"),
        ({"model_type": "gpt7"}, "gpt7"),
        ({"model_type": "pix2struct", "is_encoder_decoder": True}, "encoder-decoder"),
        ({}, "."),
    ],
)
def test_a_checkpoint_of_another_kind_is_a_mistake(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(VlmbenchError, match=message) as raised:
        open_backend(f"transformers:{tmp_path}", device="cpu")
    assert "\n" not in str(raised.value)


def test_prompts_are_padded_on_the_left(opened: Opened, ask: Ask, picture: Any) -> None:
    backend = opened("transformers")
    requests = [ask(str(n), picture(30, 30), "x" * n) for n in (3, 30)]
    prompts = [backend.prepare(item) for item in requests]
    mask = backend.collate(prompts).inputs["attention_mask"]
    assert mask[:, -1].tolist() == [1, 1]
    assert mask[:, 0].tolist() == [0, 1]
    backend._processor.tokenizer.padding_side = "right"
    with pytest.raises(AssertionError, match="padded on the left"):
        backend.collate(prompts)


def test_a_template_that_fails_is_a_mistake(llava: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llava, tmp_path / "copy"))
    (folder / "chat_template.jinja").write_text("{{ raise_exception('only one turn') }}")
    with pytest.raises(VlmbenchError, match="only one turn"):
        open_backend(f"transformers:{folder}", device="cpu")


def test_a_system_message_is_the_templates_affair(llava: Path, ask: Ask) -> None:
    turns = (Message(role="system", content=("Be brief.",)),)
    backend: Any = open_backend(f"transformers:{llava}", device="cpu")
    rendered = backend.prepare(ask("1", "What?", turns=turns, answer_prefix="Answer:"))
    assert rendered.text == "SYSTEM: Be brief. USER: What? ASSISTANT: Answer:"

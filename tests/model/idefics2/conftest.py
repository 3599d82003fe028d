"""Small random models, ours and transformers' on the same weights, and prompts for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idefics2.config import Idefics2Config
from idefics2.model import Idefics2
from idefics2.prompt import Prompt
from idefics2.weights import load_model

IMAGE_ID = 5
VOCAB_SIZE = 120

SMALL: dict[str, Any] = {
    "image_token_id": IMAGE_ID,
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 56,
        "patch_size": 4,
    },
    "perceiver_config": {
        "hidden_size": 48,
        "rms_norm_eps": 1e-5,
        "resampler_n_latents": 3,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 8,
        "num_key_value_heads": 2,
    },
    "text_config": {
        "model_type": "mistral",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512,
        "sliding_window": None,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}
"""A config.json whose tensors are all small and of different widths."""


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny matrices: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small() -> Callable[..., dict[str, Any]]:
    """The content of a small config.json; `text={...}` and the like change keys of a part."""

    def content(**changes: Any) -> dict[str, Any]:
        parts = {
            name: SMALL[name] | changes.pop(name.removesuffix("_config"), {})
            for name in ("vision_config", "perceiver_config", "text_config")
        }
        return {"model_type": "idefics2", "image_token_id": IMAGE_ID, **parts, **changes}

    return content


@pytest.fixture(scope="session")
def theirs_of() -> Callable[[dict[str, Any]], Any]:
    """The model of a config.json's content in transformers, with every parameter random."""
    from transformers import Idefics2Config as TheirConfig
    from transformers import Idefics2ForConditionalGeneration

    def build(content: dict[str, Any], seed: int = 0) -> Any:
        model = Idefics2ForConditionalGeneration(TheirConfig.from_dict(content))
        scramble(model, seed)
        return model.train(False)

    return build


@pytest.fixture(scope="session")
def random_model() -> Callable[..., Idefics2]:
    """Our model of a config.json's content, with every parameter random."""

    def build(content: dict[str, Any], seed: int = 0) -> Idefics2:
        model = Idefics2(Idefics2Config.from_json(content))
        scramble(model, seed)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def pair(
    theirs_of: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Idefics2, Any]]:
    """Our model and transformers', the weights having gone from theirs to ours through files."""

    def build(content: dict[str, Any], seed: int = 0) -> tuple[Idefics2, Any]:
        theirs = theirs_of(content, seed)
        folder = tmp_path_factory.mktemp("theirs")
        theirs.save_pretrained(folder)
        return load_model(folder), theirs

    return build


class Case(NamedTuple):
    """A prompt, and its pictures as transformers wants them."""

    prompt: Prompt
    images_3XY: list[Tensor]
    """uint8; sides need not be multiples of a patch's."""


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    """A random prompt; of its parts, ints are numbers of words and pairs are pictures' sizes."""

    def case(config: Idefics2Config, parts: Sequence[int | tuple[int, int]], seed: int = 0) -> Case:
        generator = torch.Generator().manual_seed(seed)
        size = config.vision.patch_size
        ids, images, patches, grid = [1], [], [torch.zeros(0, 3 * size**2).byte()], []
        for part in parts:
            if isinstance(part, int):
                words = torch.randint(IMAGE_ID + 1, VOCAB_SIZE, (part,), generator=generator)
                ids += words.tolist()
                continue
            image_3XY = torch.randint(0, 256, (3, *part), generator=generator).byte()
            rows, columns = part[0] // size, part[1] // size
            whole_3XY = image_3XY[:, : rows * size, : columns * size]
            images.append(image_3XY)
            grid.append((rows, columns))
            patches.append(F.unfold(whole_3XY.float(), size, stride=size).T.byte())
            ids += [config.image_id] * config.image_slots(rows, columns)
        grid_I2 = torch.tensor(grid, dtype=torch.int64).view(-1, 2)
        return Case(Prompt(tuple(ids), torch.cat(patches), grid_I2), images)

    return case


@pytest.fixture(scope="session")
def their_inputs() -> Callable[..., dict[str, Tensor]]:
    """Cases as transformers takes them: padded ids, padded pixels, and the masks of both."""

    def inputs(cases: Sequence[Case], side: str = "right") -> dict[str, Tensor]:
        rows = [torch.tensor(case.prompt.ids) for case in cases]
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True, padding_side=side)
        padded = {
            "input_ids": pad(rows),
            "attention_mask": pad([torch.ones_like(row) for row in rows]),
        }
        images = [image for case in cases for image in case.images_3XY]
        if images:
            most = max(len(case.images_3XY) for case in cases)
            sides = [max(image.shape[axis] for image in images) for axis in (1, 2)]
            pixels = torch.zeros(len(cases), most, 3, *sides)
            mask = torch.zeros(len(cases), most, *sides, dtype=torch.bool)
            for row, case in enumerate(cases):
                for column, image in enumerate(case.images_3XY):
                    _, height, width = image.shape
                    rescaled = (image.double() * 0.00392156862745098).float()
                    pixels[row, column, :, :height, :width] = (rescaled - 0.5) / 0.5
                    mask[row, column, :height, :width] = True
            padded |= {"pixel_values": pixels, "pixel_attention_mask": mask}
        return padded

    return inputs


@pytest.fixture(scope="session")
def our_logits() -> Callable[..., list[Tensor]]:
    """Our logits of each case's own tokens; the cases are one batch, padded on the given side."""

    @torch.inference_mode()
    def logits(model: Idefics2, cases: Sequence[Case], side: str = "right") -> list[Tensor]:
        rows = [torch.tensor(case.prompt.ids) for case in cases]
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True, padding_side=side)
        mask_BT = pad([torch.ones_like(row) for row in rows])
        patches_PK = torch.cat([case.prompt.patches_PK for case in cases])
        grid_I2 = torch.cat([case.prompt.grid_I2 for case in cases])
        visual = model.encode_images(patches_PK, grid_I2) if len(grid_I2) else None
        logits_BTV = model(pad(rows), mask_BT, visual)
        return [row[mask.bool()] for row, mask in zip(logits_BTV, mask_BT, strict=True)]

    return logits


@pytest.fixture(scope="session")
def assert_same_logits(
    our_logits: Callable[..., list[Tensor]], their_inputs: Callable[..., dict[str, Tensor]]
) -> Callable[..., None]:
    """Ours within 1e-5 of transformers', relative to the largest of a case."""

    def check(ours: Idefics2, theirs: Any, cases: Sequence[Case], side: str = "right") -> None:
        inputs = their_inputs(cases, side)
        with torch.inference_mode():
            their_BTV = theirs(**inputs).logits
        masks = inputs["attention_mask"].bool()
        for our_TV, row, mask in zip(our_logits(ours, cases, side), their_BTV, masks, strict=True):
            their_TV = row[mask]
            error = (our_TV - their_TV).abs().max() / their_TV.abs().max()
            assert error <= 1e-5, f"relative error {error:.2e}"

    return check


def scramble(model: nn.Module, seed: int) -> None:
    """Draws parameters large enough that each of them shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.copy_(0.2 * noise + float("norm" in name and "weight" in name))
            elif any(table in name for table in ("embed_tokens", "position_embedding", "latents")):
                parameter.copy_(noise)
            else:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)

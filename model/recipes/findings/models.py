"""Sizes of the laboratory's models, and checkpoints of untrained and of joined ones."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from idefics2.chat import RELEASED_TEMPLATE
from idefics2.config import Idefics2Config, PerceiverConfig, TextConfig, VisionConfig
from idefics2.images import ImageSettings, pack
from idefics2.model import Idefics2, initialize, normalize
from idefics2.train.vocabulary import SPECIAL, build_tokenizer
from idefics2.vision import Packing
from idefics2.weights import load_model, save_model

from .scenes import FAMILIES, SIDE, scene, vocabulary

PATCH = 8
IDS = {name: index for index, name in enumerate(SPECIAL)}
NEW_TOKENS = (IDS["<fake_token_around_image>"], IDS["<image>"])
"""Tokens that a decoder trained on text has never seen."""


SHRINKAGE = 0.02
"""Identity added to the features' covariance, as a part of the mean variance."""

SHARPNESS = 2.0
"""Scale of the resampler's initial queries and keys: from the start a latent attends
to few patches, and another to others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Widths and depths of tower, resampler and decoder."""

    width: int = 80
    num_heads: int = 4
    vision_layers: int = 3
    text_layers: int = 4
    perceiver_layers: int = 2
    num_latents: int = 32
    """Unless an arm has its own."""

    def config(self) -> Idefics2Config:
        """The fully autoregressive model with a perceiver."""
        head_width = self.width // self.num_heads
        tokenizer = build_tokenizer(known_words())
        return Idefics2Config(
            vision=VisionConfig(
                width=self.width,
                mlp_width=4 * self.width,
                num_layers=self.vision_layers,
                num_heads=self.num_heads,
                image_size=SIDE,
                patch_size=PATCH,
            ),
            perceiver=PerceiverConfig(
                num_latents=self.num_latents,
                num_layers=self.perceiver_layers,
                num_heads=self.num_heads,
                num_kv_heads=self.num_heads // 2,
                head_width=head_width,
            ),
            text=TextConfig(
                vocab_size=tokenizer.get_vocab_size(),
                width=self.width,
                mlp_width=3 * self.width,
                num_layers=self.text_layers,
                num_heads=self.num_heads,
                num_kv_heads=self.num_heads // 2,
                head_width=head_width,
                sliding_window=None,
                max_positions=4096,
                bos_id=IDS["<s>"],
                eos_ids=(IDS["</s>"],),
                pad_id=IDS["<unk>"],
            ),
            image_id=IDS["<image>"],
            cross_layer_interval=2,
            square_images=True,
        )


DEFAULT = "small"
SIZES = {DEFAULT: Size(), "large": Size(width=256, num_heads=8, vision_layers=6, text_layers=8)}


def known_words() -> list[str]:
    """Entries of the tokenizer: each word alone, and behind a space, which it writes otherwise."""
    words = (*vocabulary(), "User", "Assistant")
    return [mark + word for word in words for mark in ("", "\u0120")]


def write_untrained(folder: Path, config: Idefics2Config, seed: int) -> Path:
    """A checkpoint with drawn parameters; one that is there stays."""
    if not (folder / "config.json").exists():
        model = Idefics2(config)
        draw_parameters(model, seed)
        _write(folder, model)
    return folder


def join(folder: Path, config: Idefics2Config, vision: Path, text: Path, seed: int) -> Path:
    """A checkpoint of that tower and that decoder with all else drawn; one that is there stays.

    The connector starts with features of equal variance in all directions, and visual tokens as
    long as the decoder's embeddings are.

    Raises: ValueError where the files are of another size.
    """
    if not (folder / "config.json").exists():
        model = Idefics2(config)
        draw_parameters(model, seed)
        found = {name: x.float() for path in (vision, text) for name, x in load_file(path).items()}
        unfilled = model.load_state_dict(found, strict=False)
        new = ("connector.", "text_model.cross_layers.")
        lacking = [name for name in unfilled.missing_keys if not name.startswith(new)]
        if unfilled.unexpected_keys or lacking:
            raise ValueError(f"{vision} and {text} are not of this size: {unfilled}")
        _whiten(model, seed)
        embeddings = model.text_model.embed_tokens.weight.detach()
        _scale_outputs(model, float(embeddings.square().mean().sqrt()))
        _write(folder, model)
    return folder


def keep_part(checkpoint: Path, prefixes: tuple[str, ...], path: Path) -> None:
    """Writes the parameters whose names begin so to a file, in half precision."""
    parameters = load_model(checkpoint).state_dict().items()
    kept = {name: x.half().contiguous() for name, x in parameters if name.startswith(prefixes)}
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    save_file(kept, new)
    new.replace(path)


@torch.no_grad()
def draw_parameters(model: Idefics2, seed: int) -> None:
    """Wider than `initialize` draws them, which suits so narrow a model.

    Each parameter has random numbers of its own, so that one module's size moves no other's.
    """
    initialize(model, seed)
    config = model.config
    depth = {"vision_model": config.vision.num_layers, "text_model": config.text.num_layers}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            std = 0.7 / math.sqrt(module.in_features)
            if name.endswith(("out_proj", "fc2", "o_proj", "down_proj")):
                layers = depth.get(name.partition(".")[0], config.perceiver.num_layers)
                std /= math.sqrt(2 * layers)
            if re.search(r"perceiver_resampler\..*\.(q|k)_proj$", name):
                std *= SHARPNESS
            _draw(module.weight, f"{seed}/{name}", std)
    _draw(model.lm_head.weight, f"{seed}/lm_head", 0.02)
    _draw(model.text_model.embed_tokens.weight, f"{seed}/embed_tokens", config.text.width**-0.5)
    if config.connector == "perceiver":
        resampler = model.connector.perceiver_resampler
        _draw(resampler.latents, f"{seed}/latents", config.text.width**-0.5)
    _scale_outputs(model, config.text.width**-0.5)
    waves = _waves(config.vision.positions_per_side, config.vision.width)
    model.vision_model.position_embedding.weight.copy_(0.3 * waves)


@torch.no_grad()
def _whiten(model: Idefics2, seed: int) -> None:
    """Makes what the connector first computes of a tower's features independent of their scales.

    Colours and places are a tenth of the features' variance, letters a third: without this they
    are learnt thousands of pictures later. Shrunk, so that noise does not grow.
    """
    images = ImageSettings(square=SIDE, patch_size=PATCH)
    drawn = (scene(random.Random(f"whitening/{n}"), "train", FAMILIES[n % 3]) for n in range(96))
    packed = pack((one.canvas.image for one in drawn), images)
    grid = [(rows, columns) for rows, columns in packed.grid_I2.tolist()]
    packing = Packing.of([rows * columns for rows, columns in grid], model.device)
    x_PC = model.vision_model(normalize(packed.patches_PK, model.dtype), grid, packing)
    covariance = torch.cov(x_PC.T)
    width = len(covariance)
    mean_variance = covariance.trace() / width
    values, vectors = torch.linalg.eigh(covariance + SHRINKAGE * mean_variance * torch.eye(width))
    whitening = vectors * (mean_variance / values).sqrt() @ vectors.T
    projection: Any = model.connector.modality_projection
    is_linear = model.config.connector == "linear"
    for layer in (projection,) if is_linear else (projection.gate_proj, projection.up_proj):
        layer.weight.copy_(layer.weight @ whitening)


@torch.no_grad()
def _scale_outputs(model: Idefics2, length: float) -> None:
    """Makes the root mean square of visual tokens about `length`."""
    connector = model.connector
    if model.config.connector == "perceiver":
        connector.perceiver_resampler.norm.weight.fill_(length)
    else:
        last: Any = connector.modality_projection
        weight = last.weight if model.config.connector == "linear" else last.down_proj.weight
        weight.mul_(length / (weight.square().mean().sqrt() * math.sqrt(weight.shape[1])))


def _draw(parameter: Tensor, name: str, std: float) -> None:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def _waves(side: int, width: int) -> Tensor:
    """Sines and cosines of row and column, [side * side, width]."""
    frequencies = 100 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)


def _write(folder: Path, model: Idefics2) -> None:
    """A checkpoint; `config.json` comes last and says that all is there."""
    shutil.rmtree(folder, ignore_errors=True)  # a kill may have left a part
    folder.mkdir(parents=True)
    for name, content in _processor_files(model.config).items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    build_tokenizer(known_words()).save(str(folder / "tokenizer.json"))
    save_model(model, folder)


def _processor_files(config: Idefics2Config) -> Mapping[str, Any]:
    return {
        "preprocessor_config.json": {
            "do_image_splitting": False,
            "size": {"longest_edge": SIDE, "shortest_edge": PATCH * 2},
        },
        "processor_config.json": {"chat_template": RELEASED_TEMPLATE},
        "generation_config.json": {
            "bos_token_id": IDS["<s>"],
            "eos_token_id": [IDS["</s>"], IDS["<end_of_utterance>"]],
            "pad_token_id": IDS["<unk>"],
            "bad_words_ids": [[IDS["<fake_token_around_image>"]], [IDS["<image>"]]],
        },
        "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"},
    }


def variant(config: Idefics2Config, **changes: Any) -> Idefics2Config:
    """The configuration with other values; `num_latents` and `perceiver_layers` among them."""
    renamed = {"num_latents": "num_latents", "perceiver_layers": "num_layers"}
    of_perceiver = {renamed[key]: changes.pop(key) for key in renamed if key in changes}
    return replace(config, perceiver=replace(config.perceiver, **of_perceiver), **changes)

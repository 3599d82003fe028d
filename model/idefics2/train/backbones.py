"""A start for training: SigLIP's vision tower and Mistral's decoder with a new connector.

Axes: V vocabulary, D decoder width, P patches, each with a position, C vision width.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from idefics2.chat import RELEASED_TEMPLATE
from idefics2.config import Idefics2Config
from idefics2.model import Idefics2, initialize
from idefics2.processor import END_OF_UTTERANCE, FAKE, IMAGE
from idefics2.weights import PATCH_WEIGHT, checkpoint_names, resolve, save_model

SIGLIP, MISTRAL = "google/siglip-so400m-patch14-384", "mistralai/Mistral-7B-v0.1"
OF_TOKENS = ("model.text_model.embed_tokens.weight", "lm_head.weight")
POSITIONS = "model.vision_model.embeddings.position_embedding.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbones:
    """Writes a checkpoint of pre-trained backbones: a recipe's `start`."""

    config: Idefics2Config
    vision: str = SIGLIP
    text: str = MISTRAL
    seed: int = 0

    def __call__(self, folder: Path) -> Path:
        """Fills the folder, unless it is already.

        Raises: ValueError where a backbone is not available, or is of another size.
        """
        if (folder / "config.json").exists():
            return folder
        vision, text = resolve(self.vision), resolve(self.text)
        model = Idefics2(self.config)
        initialize(model, self.seed)
        found = {f"model.{name}": tensor for name, tensor in _tensors(vision, "vision_model.")}
        for name, tensor in _tensors(text, ""):
            found[name if name == "lm_head.weight" else f"model.text_{name}"] = tensor
        _fill(model, found)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_processor(text, folder, self.config)
        save_model(model, folder)  # config.json last, which says that all is there
        return folder


def _tensors(folder: Path, prefix: str) -> list[tuple[str, Tensor]]:
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as shard:
            found += [
                (name, shard.get_tensor(name))
                for name in sorted(shard.keys())
                if name.startswith(prefix)
            ]
    if not found:
        raise ValueError(f"{folder} has no tensors named {prefix}*")
    return found


@torch.no_grad()
def _fill(model: Idefics2, found: dict[str, Tensor]) -> None:
    """Copies the backbones' weights; rows of new tokens are the mean of the old ones."""
    for name, theirs in checkpoint_names(model).items():
        if name.startswith("connector.") or "cross_layers" in name:
            continue
        if theirs not in found:
            raise ValueError(f"the backbones lack {theirs}")
        tensor, parameter = found[theirs].float(), model.get_parameter(name)
        if theirs in OF_TOKENS and len(tensor) < len(parameter):
            mean_D = tensor.mean(0, keepdim=True)
            tensor = torch.cat([tensor, mean_D.expand(len(parameter) - len(tensor), -1)])
        if theirs == POSITIONS and len(tensor) != len(parameter):
            tensor = _interpolated(tensor, len(parameter))
        if name == PATCH_WEIGHT:
            tensor = tensor.flatten(1)
        if tensor.shape != parameter.shape:
            raise ValueError(f"{theirs} is {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
        parameter.copy_(tensor)


def _interpolated(table_PC: Tensor, num_positions: int) -> Tensor:
    """A square table of positions resized bicubically; the paper does not say how."""
    old, new = round(len(table_PC) ** 0.5), round(num_positions**0.5)
    image = table_PC.T.unflatten(1, (old, old))[None]  # type: ignore[no-untyped-call]
    resized = F.interpolate(image, size=(new, new), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).T.contiguous()


def _write_processor(text: Path, folder: Path, config: Idefics2Config) -> None:
    """The decoder's tokenizer with the three new tokens, and the released processor's settings."""
    tokenizer = Tokenizer.from_file(str(text / "tokenizer.json"))
    new = [AddedToken(name, normalized=False) for name in (FAKE, IMAGE, END_OF_UTTERANCE)]
    tokenizer.add_special_tokens(new)
    if tokenizer.token_to_id(IMAGE) != config.image_id:
        raise ValueError(
            f"{IMAGE} gets the id {tokenizer.token_to_id(IMAGE)}, and the config has "
            f"{config.image_id}"
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copyfile(text / "tokenizer_config.json", folder / "tokenizer_config.json")
    longest = config.vision.image_size
    contents = {
        "processor_config.json": {"chat_template": RELEASED_TEMPLATE},
        "preprocessor_config.json": {
            "do_image_splitting": False,
            "size": {"longest_edge": longest, "shortest_edge": min(378, longest)},
        },
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", "utf-8")

"""Idefics2 of three sizes with random weights, ours and transformers' on the same tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from idefics2 import Idefics2, Idefics2Config
from idefics2.chat import RELEASED_TEMPLATE
from idefics2.config import PerceiverConfig, TextConfig, VisionConfig
from idefics2.weights import checkpoint_names, checkpoint_shapes
from vlmbench.backends.bench.workloads import CHOICE, INSTRUCTION, LETTERS, WORDS

SPECIAL = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")
"""The last ids of the vocabulary."""

SCALES = {"8b": 1.0, "100m": 0.55, "tiny": 0.2}
"""Sides of pictures and crops. Attention between patches grows with the square of their number: in
a narrow model it would outweigh all else at full size, as it does not in the 8B."""


def config_of(name: str) -> Idefics2Config:
    """The released model is "8b"; the others keep about the proportions of its stages' work."""
    if name == "8b":
        vision = VisionConfig(
            width=1152, mlp_width=4304, num_layers=27, num_heads=16, image_size=980, patch_size=14
        )
        perceiver = PerceiverConfig(norm_eps=1e-5)
        text = TextConfig(vocab_size=32003, norm_eps=1e-5)
    else:
        sizes = {"100m": (384, 8, 6, 768, 10, 12, 4096), "tiny": (48, 2, 3, 64, 2, 4, 512)}
        width, num_layers, num_heads, *rest = sizes[name]
        vision = VisionConfig(
            **{"width": width, "mlp_width": 4 * width, "num_layers": num_layers},
            **{"num_heads": num_heads, "image_size": 980, "patch_size": 14},
        )
        width, num_layers, num_heads, vocab_size = rest
        heads: Any = {"num_heads": num_heads, "num_kv_heads": num_heads // 4}
        heads |= {"head_width": width // num_heads, "norm_eps": 1e-5}
        perceiver = PerceiverConfig(num_layers=1, **heads)
        text = TextConfig(
            vocab_size=vocab_size,
            width=width,
            mlp_width=7 * width // 2,
            num_layers=num_layers,
            pad_id=0,
            **heads,
        )
    image_id = text.vocab_size - len(SPECIAL) + SPECIAL.index("<image>")
    return Idefics2Config(vision=vision, perceiver=perceiver, text=text, image_id=image_id)


@torch.no_grad()
def ours(config: Idefics2Config, device: str, dtype: torch.dtype, seed: int = 0) -> Idefics2:
    """Weights that let pictures and words sway the answer: normal(0, 1 / inputs), gates at 1."""
    with torch.device("meta"):
        model = Idefics2(config)
    model = model.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(float("alpha" in name or ("norm" in name and "weight" in name)))
        else:
            is_table = "embed" in name and "patch" not in name
            parameter.normal_(
                0, 1.0 if is_table else parameter.shape[1] ** -0.5, generator=generator
            )
    return model.eval()


def theirs(model: Idefics2) -> Any:
    """Their model on the very tensors of ours."""
    import transformers

    content = model.config.to_json()
    content["text_config"]["model_type"] = "mistral"
    config = transformers.Idefics2Config.from_dict(content)
    with torch.device(model.device):
        kind: Any = transformers.Idefics2ForConditionalGeneration
        made = kind._from_config(config, dtype=model.dtype)
    shapes, parameters = checkpoint_shapes(model), dict(model.named_parameters())
    state = {
        name: parameters[own].detach().view(shapes[name])
        for own, name in checkpoint_names(model).items()
    }
    made.load_state_dict(state, assign=True)
    return made.eval()


def write_folder(config: Idefics2Config, folder: Path, scale: float) -> Path:
    """All files of a checkpoint but its weights; a word of the made questions is one token."""
    size = config.text.vocab_size - len(SPECIAL)
    words = ["<unk>", "<s>", "</s>", "User:", "Assistant:", "?", *(f"{c}." for c in LETTERS)]
    words = list(dict.fromkeys([*words, *WORDS, *INSTRUCTION.split(), *CHOICE.split()]))
    words += [f"word{number}" for number in range(len(words), size)]
    vocabulary = {word: number for number, word in enumerate([*words, *SPECIAL])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = [*words[:3], *SPECIAL]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in named])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    fake, image, end = (vocabulary[name] for name in SPECIAL)
    sides = {"longest_edge": 14 * round(70 * scale), "shortest_edge": 14 * round(27 * scale)}
    contents: dict[str, Any] = {
        "config": config.to_json(),
        "tokenizer_config": {
            **{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>"},
            **{"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"},
            "padding_side": "left",
        },
        "preprocessor_config": {
            **{"do_convert_rgb": True, "do_pad": True, "do_image_splitting": False},
            **{"do_resize": True, "resample": 2, "size": sides},
            **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
            **{"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
            "image_processor_type": "Idefics2ImageProcessor",
        },
        "processor_config": {
            "chat_template": RELEASED_TEMPLATE,
            "image_seq_len": config.perceiver.num_latents,
            "processor_class": "Idefics2Processor",
        },
        "generation_config": {
            "bad_words_ids": [[fake], [image]],
            **{"bos_token_id": 1, "eos_token_id": [2, end], "pad_token_id": 0},
        },
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder

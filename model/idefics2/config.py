"""The model's sizes, read from and written to `config.json` in the released checkpoints' format.

A field's default is what that format means where the key is absent; `IDEFICS2_8B` has the released
sizes. The keys `architecture`, `cross_layer_interval`, `connector` and `square_images` are our own,
and are written only where they differ from the released model's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from idefics2.config_format import Json, keys_and_values, parse, read, version_of
from idefics2.quantized import refuse_config

Architecture = Literal["autoregressive", "cross_attention"]
Connector = Literal["perceiver", "mlp", "linear"]


MAX_LAYERS = 1_000
MAX_SIZE = 100_000_000
"""Above all that a model of this kind has; each layer is made before weights are looked at."""


def _key(name: str, default: Any) -> Any:
    """A field whose key in `config.json` has another name."""
    return field(default=default, metadata={"key": name})


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """SigLIP's tower (Zhai et al., 2023) without its pooling head, for images of any shape."""

    width: int = _key("hidden_size", 768)
    """C."""
    mlp_width: int = _key("intermediate_size", 3072)
    num_layers: int = _key("num_hidden_layers", 12)
    num_heads: int = _key("num_attention_heads", 12)
    """Must divide `width`."""
    image_size: int = 224
    """Side, in pixels, up to which each patch has a learned position of its own."""
    patch_size: int = 32
    """Side of a patch, in pixels."""
    norm_eps: float = _key("layer_norm_eps", 1e-6)

    def __post_init__(self) -> None:
        _check_numbers(self, "vision_config")
        _check_multiple(self.width, self.num_heads, "vision_config: width, num_heads")
        if self.image_size < self.patch_size:
            raise ValueError(
                f"vision_config: image_size {self.image_size} is below patch_size {self.patch_size}"
            )

    @property
    def positions_per_side(self) -> int:
        """Side of the learned table of positions: 70 in the released model."""
        return self.image_size // self.patch_size

    @property
    def patch_values(self) -> int:
        """K."""
        return 3 * self.patch_size**2


@dataclass(frozen=True, kw_only=True, slots=True)
class PerceiverConfig:
    """The resampler: learned latents attend to one image's patches (Alayrac et al., 2022)."""

    num_latents: int = _key("resampler_n_latents", 64)
    """Visual tokens of a crop, R."""
    num_layers: int = _key("resampler_depth", 3)
    num_heads: int = _key("resampler_n_heads", 16)
    num_kv_heads: int = _key("num_key_value_heads", 4)
    """Must divide `num_heads`."""
    head_width: int = _key("resampler_head_dim", 96)
    norm_eps: float = _key("rms_norm_eps", 1e-6)

    def __post_init__(self) -> None:
        _check_numbers(self, "perceiver_config")
        _check_multiple(
            self.num_heads, self.num_kv_heads, "perceiver_config: num_heads, num_kv_heads"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """Mistral's decoder (Jiang et al., 2023)."""

    vocab_size: int = 32000
    """V."""
    width: int = _key("hidden_size", 4096)
    """D."""
    mlp_width: int = _key("intermediate_size", 14336)
    num_layers: int = _key("num_hidden_layers", 32)
    num_heads: int = _key("num_attention_heads", 32)
    num_kv_heads: int = _key("num_key_value_heads", 8)
    """Must divide `num_heads`."""
    head_width: int = _key("head_dim", 128)
    """Even: rotation pairs channels. In a file, absent means hidden_size / num_attention_heads."""
    norm_eps: float = _key("rms_norm_eps", 1e-6)
    rope_theta: float = 10000.0
    sliding_window: int | None = 4096
    """Number of tokens that a token attends to, itself included; None: all before it."""
    max_positions: int = _key("max_position_embeddings", 131072)
    """Longest sequence, in tokens."""
    bos_id: int | None = _key("bos_token_id", 1)
    eos_ids: tuple[int, ...] = _key("eos_token_id", (2,))
    pad_id: int | None = _key("pad_token_id", None)
    """These three are kept for whoever reads the file: the model knows no special text token."""

    def __post_init__(self) -> None:
        _check_numbers(self, "text_config")
        _check_multiple(self.num_heads, self.num_kv_heads, "text_config: num_heads, num_kv_heads")
        _check_multiple(self.head_width, 2, "text_config: head_width, two")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ValueError(
                f"text_config: sliding_window must be positive or null, not {self.sliding_window}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Idefics2Config:
    """The whole model (Laurencon et al., 2024, arXiv:2405.02246)."""

    vision: VisionConfig
    perceiver: PerceiverConfig
    """Used by the perceiver connector alone."""
    text: TextConfig
    image_id: int = _key("image_token_id", 32001)
    """The token `<image>`, in whose place visual tokens go."""
    tied_embeddings: bool = _key("tie_word_embeddings", False)
    """True: the output projection is the embedding table."""
    architecture: Architecture = "autoregressive"
    """Visual tokens in the sequence, or attended to by gated blocks (section 3.2)."""
    cross_layer_interval: int = 3
    """Decoder layers from one gated block to the next. The paper does not state its own; 3 comes
    nearest to the 2.3B new parameters of its Table 3."""
    connector: Connector = "perceiver"
    """SwiGLU and resampler; SwiGLU alone; or one projection. The last two do not pool: each patch
    is a visual token (section 3.3, Table 11)."""
    square_images: bool = False
    """True: the processor resizes crops to image_size x image_size; False: they keep their aspect
    ratio (section 3.3)."""

    def __post_init__(self) -> None:
        _check_numbers(self, "config")
        _check_choice(self.architecture, get_args(Architecture), "architecture")
        _check_choice(self.connector, get_args(Connector), "connector")
        _check_choice(self.tied_embeddings, (True, False), "tie_word_embeddings")
        _check_choice(self.square_images, (True, False), "square_images")
        if self.architecture == "cross_attention" and self.connector != "perceiver":
            raise ValueError(f"cross_attention needs connector perceiver, not {self.connector}")
        if self.image_id >= self.text.vocab_size:
            raise ValueError(
                f"image_token_id {self.image_id} is outside the vocabulary of "
                f"{self.text.vocab_size}"
            )

    @property
    def num_gated_blocks(self) -> int:
        """Gated cross-attention blocks: one before every so many decoder layers."""
        if self.architecture == "autoregressive":
            return 0
        return len(range(0, self.text.num_layers, self.cross_layer_interval))

    def visual_tokens(self, rows: int, columns: int) -> int:
        """Number of visual tokens of a crop of so many patches."""
        return self.perceiver.num_latents if self.connector == "perceiver" else rows * columns

    def image_slots(self, rows: int, columns: int) -> int:
        """Number of `<image>` ids that such a crop takes in the sequence."""
        return 1 if self.architecture == "cross_attention" else self.visual_tokens(rows, columns)

    def visual_tokens_of(self, num_slots: int) -> int:
        """Number of visual tokens of crops that take so many `<image>` ids."""
        each = self.perceiver.num_latents if self.architecture == "cross_attention" else 1
        return each * num_slots

    @classmethod
    def from_json(cls, source: str | Path | Json) -> Idefics2Config:
        """Reads the path or the content of a `config.json`.

        Where `perceiver_config` names no `rms_norm_eps`, files of transformers before 4.46, such
        as the released ones, mean the text decoder's, 1e-5, and later files mean 1e-6: each code
        took it from there. Later code runs the released files with 1e-6, unlike their training.

        Raises: ValueError naming a key that is unknown, or whose value is not implemented.
        """
        content = dict(source) if isinstance(source, dict) else read(Path(source))
        if content.get("model_type") not in (PLAIN, VARIANT):
            raise ValueError(f"model_type is {content.get('model_type')!r}, not {PLAIN!r}")
        refuse_config(content, PARTS)
        vision, perceiver, text = (_pop_object(content, name) for name in PARTS)
        text_config = parse(TextConfig, _resolve_text(text), "text_config")
        perceiver = _resolve_perceiver(perceiver, text_config, version_of(content, "5"))
        return parse(
            cls,
            content,
            "config",
            vision=parse(VisionConfig, vision, "vision_config"),
            perceiver=parse(PerceiverConfig, perceiver, "perceiver_config"),
            text=text_config,
        )

    def to_json(self) -> Json:
        """The content of `config.json`.

        transformers loads it if it holds none of our own keys, and otherwise refuses the
        `model_type`, rather than run another model than this one.
        """
        top = keys_and_values(self)
        defaults = {item.name: item.default for item in fields(self)}
        same = [key for key in OWN_KEYS if top[key] == defaults[key]]
        is_plain = len(same) == len(OWN_KEYS)
        text = keys_and_values(self.text) | {"model_type": "mistral"}
        if len(self.text.eos_ids) == 1:
            text["eos_token_id"] = self.text.eos_ids[0]
        return {
            "architectures": ["Idefics2ForConditionalGeneration"] if is_plain else [],
            "model_type": PLAIN if is_plain else VARIANT,
            **{key: value for key, value in top.items() if key not in same},
            "vision_config": keys_and_values(self.vision) | {"model_type": "idefics2_vision"},
            "perceiver_config": keys_and_values(self.perceiver)
            | {"model_type": "idefics2_perceiver", "hidden_size": self.text.width},
            "text_config": text,
        }


PLAIN, VARIANT = "idefics2", "idefics2_variant"
PARTS = ("vision_config", "perceiver_config", "text_config")
OWN_KEYS = ("architecture", "cross_layer_interval", "connector", "square_images")


def _pop_object(content: Json, key: str) -> Json:
    value = content.pop(key, None) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} must be an object, not {value!r}")
    return dict(value)


def _resolve_perceiver(perceiver: Json, text: TextConfig, version: tuple[int, int]) -> Json:
    """`perceiver_config` without its width, which is the decoder's, and with its epsilon."""
    width = perceiver.pop("hidden_size", None)
    if width not in (None, text.width):
        raise ValueError(f"perceiver_config: hidden_size {width} is not text_config's {text.width}")
    if version < (4, 46) or (width is None and text.width != 4096):  # the latter as later code does
        perceiver.setdefault("rms_norm_eps", text.norm_eps)
    return perceiver


def _resolve_text(text: Json) -> Json:
    """`text_config` in one spelling, with what depends on other keys written out."""
    if not text:  # an absent text_config is not an empty one in transformers' Idefics2Config
        text = {"max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "pad_token_id": 0}
    rope = _pop_object(text, "rope_parameters")
    if rope.get("rope_type", "default") != "default" or set(rope) - {"rope_type", "rope_theta"}:
        raise ValueError(f"text_config: rope_parameters {rope} is not implemented")
    text.setdefault("rope_theta", rope.get("rope_theta", 10000.0))
    width, heads = text.get("hidden_size", 4096), text.get("num_attention_heads", 32)
    _check_number(width, "int", "text_config: hidden_size")
    _check_number(heads, "int", "text_config: num_attention_heads")
    if text.get("head_dim") is None:
        text["head_dim"] = width // heads
    if "eos_token_id" in text:
        eos = text["eos_token_id"]
        text["eos_token_id"] = () if eos is None else (eos,) if isinstance(eos, int) else (*eos,)
    return text


def _check_numbers(config: Any, where: str) -> None:
    """Every field declared `int` or `float` is one, and above zero."""
    for item in fields(config):
        _check_number(getattr(config, item.name), str(item.type), f"{where}: {item.name}")


def _check_number(value: object, kind: str, name: str) -> None:
    kinds = {"int": (int,), "float": (int, float)}.get(kind)
    if kinds and (isinstance(value, bool) or not isinstance(value, kinds) or value <= 0):
        raise ValueError(f"{name} must be a positive {kind}, not {value!r}")
    most = MAX_LAYERS if "num_layers" in name else MAX_SIZE
    if kinds and isinstance(value, int | float) and not value <= most:
        raise ValueError(f"{name} is above {most:,}, which no model of this kind has")


def _check_multiple(value: int, divisor: int, names: str) -> None:
    if value % divisor:
        raise ValueError(f"{names}: {value} is no multiple of {divisor}")


def _check_choice(value: object, implemented: Collection[object], name: str) -> None:
    if value not in implemented:
        choices = " or ".join(map(repr, implemented))
        raise ValueError(f"{name} {value!r} is not implemented: it must be {choices}")


IDEFICS2_8B = Idefics2Config(
    vision=VisionConfig(
        width=1152, mlp_width=4304, num_layers=27, num_heads=16, image_size=980, patch_size=14
    ),
    perceiver=PerceiverConfig(norm_eps=1e-5),
    text=TextConfig(vocab_size=32003, norm_eps=1e-5, max_positions=32768, pad_id=0),
)
"""HuggingFaceM4/idefics2-8b; its base model may have 32002 tokens."""

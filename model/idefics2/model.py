"""Idefics2: images and token ids to logits.

Axes: B sequences, T tokens, S keys, D decoder width, V vocabulary, I crops, P patches of all crops,
K pixel values of a patch, R latents of a crop, L visual tokens of all crops.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idefics2.cache import Cache, CachedAttention, Layout, lay_out
from idefics2.config import Idefics2Config
from idefics2.cross_attention import GatedCrossAttention, VisualContext
from idefics2.layers import MaskedAttention, RMSNorm
from idefics2.mistral import Attention, MistralDecoder
from idefics2.perceiver import Connector, PerceiverResampler
from idefics2.vision import Packing, VisionTower

RESCALE = 0.00392156862745098  # rescale_factor in the released preprocessor_config.json
MEAN = STD = 0.5  # image_mean and image_std there, of every channel
INITIAL_STD = 0.02  # initializer_range in transformers' Idefics2 and Mistral


class Idefics2(nn.Module):
    """Vision tower, connector and decoder, in either architecture of the paper.

    A new model has torch's default parameters: load others, or draw them with `initialize`.
    """

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__()
        self.config = config
        self.vision_model = VisionTower(config.vision)
        self.connector = Connector(config)
        self.text_model = MistralDecoder(config)
        self.lm_head = nn.Linear(config.text.width, config.text.vocab_size, bias=False)
        self.tie_embeddings()

    def tie_embeddings(self) -> None:
        """Makes the output projection the embedding table again, if the config says so."""
        if self.config.tied_embeddings:
            self.lm_head.weight = self.text_model.embed_tokens.weight

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype

    def encode_images(self, patches_PK: Tensor, grid_I2: Tensor) -> Tensor:
        """Visual tokens [I, R, D] of crops, given their uint8 patches, crop after crop.

        Without a resampler they are [P, D], one for each patch.

        Raises: ValueError where patches and grid do not fit one another or the model.
        """
        grid = [(rows, columns) for rows, columns in grid_I2.tolist()]
        lengths = [rows * columns for rows, columns in grid]
        shape = (sum(lengths), self.config.vision.patch_values)
        if patches_PK.dtype != torch.uint8 or tuple(patches_PK.shape) != shape:
            raise ValueError(
                f"the crops' grid {grid} needs uint8 patches of shape {shape}, not "
                f"{patches_PK.dtype} of {tuple(patches_PK.shape)}"
            )
        if any(rows < 1 or columns < 1 for rows, columns in grid):
            raise ValueError(f"a crop without patches in the grid {grid}")
        pixels_PK = normalize(patches_PK.to(self.device), self.dtype)
        packing = Packing.of(lengths, self.device)
        visual: Tensor = self.connector(self.vision_model(pixels_PK, grid, packing), packing)
        return visual

    def forward(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        visual: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Logits [B, T, V] of the token after each; the arguments are those of `hidden_states`."""
        logits_BTV: Tensor = self.lm_head(self.hidden_states(ids_BT, segments_BT, visual, cache))
        return logits_BTV

    def hidden_states(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        visual: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Last hidden states [B, T, D], the input of the output projection.

        Args:
            ids_BT: Token ids.
            segments_BT: The number of the sequence that a token belongs to, from 1, so that a row
                may hold many, which do not see one another; 0 is padding, on either side. A 0/1
                attention mask is such a tensor; None means that all are 1.
            visual: Output of `encode_images`, for the `<image>` ids row by row.
            cache: Earlier tokens, which these follow and are added to.

        Raises: ValueError if `<image>` ids and visual tokens differ in number, or the cache is
            full.
        """
        is_first = cache is None or cache.num_used == 0
        self._check_images(ids_BT, visual, is_first)
        text, crosses = self.config.text, self.config.architecture == "cross_attention"
        x_BTD = self.text_model.embed_tokens(ids_BT)
        if visual is not None and not crosses:
            is_image_BT = ids_BT == self.config.image_id
            x_BTD = x_BTD.masked_scatter(is_image_BT[..., None], visual.to(x_BTD.dtype))
        ones_BT = torch.ones_like(ids_BT)
        fits = text.sliding_window is None or ids_BT.shape[1] <= text.sliding_window
        if segments_BT is None and is_first and fits and not crosses:
            positions_BT = ones_BT.cumsum(1) - 1
            if cache is not None:
                cache.extend(ones_BT, positions_BT)
            plain_BTD: Tensor = self.text_model(x_BTD, positions_BT, _attention(cache, None))
            return plain_BTD
        segments_BT = ones_BT if segments_BT is None else segments_BT
        layout = lay_out(segments_BT, text.sliding_window, cache)
        context = self._look(ids_BT, visual, layout, cache) if crosses else None
        attention = _attention(cache, layout.mask_BTS)
        y_BTD: Tensor = self.text_model(x_BTD, layout.positions_BT, attention, context)
        return y_BTD

    def _check_images(self, ids_BT: Tensor, visual: Tensor | None, is_first: bool) -> None:
        if visual is None and not is_first:
            return  # a generated `<image>` is an ordinary token
        num_slots = int((ids_BT == self.config.image_id).sum())
        num_visual = 0 if visual is None else visual.shape[:-1].numel()
        if self.config.architecture == "cross_attention":
            num_visual //= self.config.perceiver.num_latents
        if num_slots != num_visual:
            raise ValueError(f"{num_slots} <image> ids, but visual tokens for {num_visual}")

    def _look(
        self, ids_BT: Tensor, visual: Tensor | None, layout: Layout, cache: Cache | None
    ) -> VisualContext | None:
        """The images that the gated blocks attend to; None where there is none yet."""
        keys_values = None if cache is None else cache.visual
        images_BT = torch.zeros_like(ids_BT)
        if visual is not None:
            if keys_values is not None:
                raise ValueError("the cache has images already: cross-attention takes them once")
            keys_values = self.text_model.read_images(visual)
            is_image_BT = ids_BT == self.config.image_id
            images_BT = is_image_BT.flatten().cumsum(0).view_as(ids_BT) * is_image_BT
        images_BS = images_BT
        if cache is not None:
            cache.visual = keys_values
            cache.images_BS = images_BS = torch.cat([cache.images_BS, images_BT], 1)
        if keys_values is None:
            return None
        return VisualContext.of(
            keys_values, images_BS, layout.same_BTS, self.config.perceiver.num_latents
        )


def _attention(cache: Cache | None, mask_BTS: Tensor | None) -> Attention:
    """Attention with a cache or without; no mask is causal."""
    return MaskedAttention(mask_BTS) if cache is None else CachedAttention(cache, mask_BTS)


def normalize(patches_PK: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixel values from -1 to 1, equal to the last bit to the released processor's.

    That one multiplies in float64 and continues in float32. A table of the 256 results gives the
    same on every device; one multiplication in float32 would be a bit off for 111 of them.
    """
    rescaled_256 = (torch.arange(256, dtype=torch.float64, device="cpu") * RESCALE).float()
    values_256 = ((rescaled_256 - MEAN) / STD).to(dtype).to(patches_PK.device)
    x_PK: Tensor = values_256[patches_PK.int()]
    return x_PK


@torch.no_grad()
def initialize(model: Idefics2, seed: int) -> None:
    """Draws all parameters for training from nothing; the same on every device and in every dtype.

    Matrices and tables are normal(0, 0.02), as in transformers; biases and gates 0, norms 1. The
    resampler's latents are normal(0, width^-0.5), as in the code that trained the released models:
    equal latents, transformers' ones, would stay equal, and an image would have one visual token.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            _draw(module.weight, INITIAL_STD, generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        if isinstance(module, RMSNorm):
            module.weight.fill_(1.0)
        if isinstance(module, PerceiverResampler):
            _draw(module.latents, module.latents.shape[-1] ** -0.5, generator)
        if isinstance(module, GatedCrossAttention):
            module.alpha_cross_attn.zero_()
            module.alpha_dense.zero_()


def _draw(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)

"""Objectives of stages: each encodes samples, and builds the module that computes the loss.

Axes: T tokens of the row, A tokens to be predicted, V vocabulary, D width, P patches,
I crops, L visual tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idefics2.cross_attention import VisualContext
from idefics2.model import Idefics2
from idefics2.processor import Processor
from idefics2.train.augmentation import Augmentation
from idefics2.train.examples import Encoder, Example
from idefics2.train.packed import PackedAttention, Row, pack_row
from idefics2.train.samples import Sample


class Losses(NamedTuple):
    """Losses of a micro-batch, as sums, which add up over micro-batches and processes."""

    total: Tensor
    """Weighted sum, to be divided by the sum of weights of the whole step."""
    by_source: Tensor
    """Weighted sum of the loss and sum of weights of each of the batch's sources; detached."""


class Encoded(Protocol):
    """An encoded sample, as the stream sees it."""

    @property
    def num_tokens(self) -> int: ...

    @property
    def num_patches(self) -> int: ...

    @property
    def grid(self) -> tuple[tuple[int, int], ...]: ...


class Batch(Protocol):
    """A micro-batch, as the loop sees it."""

    @property
    def sources(self) -> tuple[str, ...]: ...

    @property
    def weight(self) -> float:
        """Sum of its targets' weights; a step's loss is divided by the sum over micro-batches."""
        ...

    @property
    def num_tokens(self) -> int: ...

    @property
    def num_examples(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...


class Reader(Protocol):
    """Encodes samples and collates batches, in the processes that draw them."""

    def encode(self, sample: Any, index: int) -> Any:
        """The `Encoded` of the sample with that number."""
        ...

    def collate(self, examples: Sequence[Any]) -> Any:
        """The `Batch` of some examples."""
        ...


class Objective(Protocol):
    """One of `Answers` and `DenseLabels`, or a recipe's own."""

    def reader(self, processor: Processor, seed: int) -> Reader: ...

    def module(self, model: Idefics2, seed: int) -> nn.Module:
        """A module whose forward maps a `Batch` to `Losses`; its attribute `model` is the model."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Cross-entropy of the next token, over answers of conversations and text of documents."""

    max_tokens: int
    """Longest sequence."""
    source_tokens: tuple[tuple[str, int], ...] = ()
    """Longest sequence of single sources, where it differs."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    neftune_alpha: float = 0.0
    """Scale of the noise on the embeddings; see `neftune`."""
    z_loss: float = 0.0
    """Factor of log(sum(exp(logits)))^2, which keeps logits small (PaLM)."""

    def reader(self, processor: Processor, seed: int) -> Reader:
        return _AnswersReader(
            Encoder(processor, self.augmentation, self.max_tokens, seed, dict(self.source_tokens)),
            processor.config.image_id,
            processor.config.text.sliding_window,
        )

    def module(self, model: Idefics2, seed: int) -> nn.Module:
        return AnswerLoss(model, self.neftune_alpha, self.z_loss, seed)


@dataclass(frozen=True, slots=True)
class _AnswersReader:
    encoder: Encoder
    image_id: int
    window: int | None

    def encode(self, sample: Sample, index: int) -> Example:
        return self.encoder(sample, index)

    def collate(self, examples: Sequence[Example]) -> Row:
        return pack_row(examples, self.image_id, self.window)


class AnswerLoss(nn.Module):
    """The loss of a row of packed examples."""

    def __init__(
        self, model: Idefics2, neftune_alpha: float = 0.0, z_loss: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        self.model = model
        self.neftune_alpha, self.z_loss, self.seed = neftune_alpha, z_loss, seed

    def forward(self, row: Row) -> Losses:
        logits_AV = self.model.lm_head(self.hidden_states(row)).float()
        loss_A = F.cross_entropy(logits_AV, row.targets_A, reduction="none")
        if self.z_loss:
            loss_A = loss_A + self.z_loss * logits_AV.logsumexp(-1).square()
        weighted_A = loss_A * row.weights_A
        return Losses(
            weighted_A.sum(), by_source(weighted_A, row.weights_A, row.sources_A, row.sources)
        )

    def hidden_states(self, row: Row) -> Tensor:
        """Hidden states that predict the targets, [A, D]."""
        model, crosses = self.model, self.model.config.architecture == "cross_attention"
        x_TD = model.text_model.embed_tokens(row.ids_T)
        visual = self._look(row)
        if not crosses and not len(row.grid_I2):
            x_TD = x_TD + 0 * visual.sum().to(x_TD.dtype)
        elif not crosses:
            is_image_T = row.ids_T == model.config.image_id
            num_slots, num_visual = int(is_image_T.sum()), visual.shape[:-1].numel()
            if num_slots != num_visual:
                raise ValueError(f"{num_slots} <image> ids, but visual tokens for {num_visual}")
            x_TD = x_TD.masked_scatter(is_image_T[:, None], visual.to(x_TD.dtype))
        if self.neftune_alpha and self.training:
            x_TD = x_TD + neftune(row, x_TD.shape[-1], self.neftune_alpha, self.seed).to(x_TD)
        context = None
        if crosses:
            num_latents = model.config.perceiver.num_latents
            image_L = 1 + torch.arange(visual.shape[:-1].numel(), device=x_TD.device) // num_latents
            sees_1TL = row.images_T[None, :, None] == image_L
            context = VisualContext(model.text_model.read_images(visual), sees_1TL)
        attention = PackedAttention(row)
        positions_1T = row.positions_T[None]
        y_1AD: Tensor = model.text_model(x_TD[None], positions_1T, attention, context, row.from_A)
        return y_1AD[0]

    def _look(self, row: Row) -> Tensor:
        """Visual tokens of the row's pictures; of two black patches if it has none.

        Every process must use every parameter, or the others would wait for its gradients.
        """
        if len(row.grid_I2):
            return self.model.encode_images(row.patches_PK, row.grid_I2)
        black_PK = row.patches_PK.new_zeros((1, self.model.config.vision.patch_values))
        return self.model.encode_images(black_PK, torch.ones((1, 2), dtype=torch.int64))


def neftune(row: Row, width: int, alpha: float, seed: int) -> Tensor:
    """Noise [T, D] of NEFTune: uniform in +-alpha / sqrt(L D), L being the sequence's length.

    An example's noise depends on its number alone, so that it is the same however examples are
    divided among micro-batches and processes. Visual tokens get it too, as in M4's code.

    Source: Jain et al., 2023 (arXiv:2310.05914).
    """
    parts = []
    for index, num_tokens in row.spans:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)
        parts.append(torch.rand((num_tokens, width), generator=generator) * 2 - 1)
    scale_T = alpha / (row.lengths_T.float() * width).sqrt()
    return torch.cat(parts).to(scale_T.device) * scale_T[:, None]


def by_source(losses: Tensor, weights: Tensor, sources: Tensor, names: Sequence[str]) -> Tensor:
    """Sums of losses and of weights for each source, [sources, 2]."""
    sums = torch.zeros((len(names), 2), device=losses.device)
    pairs = torch.stack([losses.detach(), weights], 1).to(sums.dtype)
    return sums.index_add_(0, sources, pairs)

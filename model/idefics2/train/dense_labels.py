"""A dense objective without the decoder: every patch, or every latent, is classified.

A randomly initialised tower learns letters and shapes far sooner from this than through a decoder's
answers; a resampler learns to divide a picture among its latents. The classification heads are
dropped afterwards.

Axes: N patches or latents of all pictures, Y labels of each, P patches, K values of a patch,
C width, I crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from idefics2 import onednn
from idefics2.images import pack
from idefics2.model import Idefics2, normalize
from idefics2.processor import Processor
from idefics2.train.objectives import Losses, Reader, by_source
from idefics2.vision import Packing

Array = np.ndarray[Any, np.dtype[Any]]
UNLABELLED = -1
BACKGROUND = 0


Places = Literal["patches", "latents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPicture:
    """A picture and the classes of its patches or latents."""

    picture: Image.Image
    labels_NY: Array
    """Integers by patch, row after row, or by latent; 0 is background, -1 is not counted."""
    source: str = "picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledExample:
    """An encoded picture."""

    index: int
    source: str
    patches_PK: Array
    labels_NY: Array
    grid: tuple[tuple[int, int], ...]

    @property
    def num_tokens(self) -> int:
        """0, as the decoder is not used."""
        return 0

    @property
    def num_patches(self) -> int:
        return len(self.patches_PK)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBatch:
    """A micro-batch of pictures."""

    patches_PK: Tensor
    labels_NY: Tensor
    weights_NY: Tensor
    sources_N: Tensor
    sources: tuple[str, ...]
    grid: tuple[tuple[int, int], ...]
    weight: float

    @property
    def num_tokens(self) -> int:
        return len(self.labels_NY)

    @property
    def num_examples(self) -> int:
        return len(self.grid)

    def to(self, device: torch.device) -> Self:
        return replace(
            self,
            patches_PK=self.patches_PK.to(device),
            labels_NY=self.labels_NY.to(device),
            weights_NY=self.weights_NY.to(device),
            sources_N=self.sources_N.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseLabels:
    """Cross-entropy of each label of each patch or latent, with a linear head for each label."""

    num_classes: tuple[int, ...]
    """Number of classes of each label, background included."""
    places: Places = "patches"
    """Labels are those of patches, after the vision tower, or of latents, after the resampler."""
    background_weight: float = 0.15
    """Loss weight of labels that are background; others weigh 1."""

    def reader(self, processor: Processor, seed: int) -> Reader:
        return _LabelsReader(processor, self)

    def module(self, model: Idefics2, seed: int) -> nn.Module:
        return DenseLoss(model, self)


@dataclass(frozen=True, slots=True)
class _LabelsReader:
    processor: Processor
    objective: DenseLabels

    def encode(self, sample: LabelledPicture, index: int) -> LabelledExample:
        images = replace(self.processor.images, split=False)
        packed = pack([sample.picture], images)
        grid = tuple((rows, columns) for rows, columns in packed.grid_I2.tolist())
        num_places = len(packed.patches_PK)
        if self.objective.places == "latents":
            num_places = len(grid) * self.processor.config.perceiver.num_latents
        num_classes = self.objective.num_classes
        shape = (num_places, len(num_classes))
        labels_NY = np.asarray(sample.labels_NY, np.int64)
        if labels_NY.shape != shape:
            raise ValueError(
                f"a picture of {sample.source} needs labels {shape}, not {labels_NY.shape}: "
                f"its patches are {grid}"
            )
        if (labels_NY >= np.array(num_classes)).any():
            raise ValueError(f"labels of {sample.source} exceed {num_classes} classes")
        return LabelledExample(
            index=index,
            source=sample.source,
            patches_PK=packed.patches_PK.numpy(),
            labels_NY=labels_NY,
            grid=grid,
        )

    def collate(self, examples: Sequence[LabelledExample]) -> LabelledBatch:
        labels_NY = np.concatenate([example.labels_NY for example in examples])
        weights_NY = np.where(labels_NY == BACKGROUND, self.objective.background_weight, 1.0)
        weights_NY = np.where(labels_NY == UNLABELLED, 0.0, weights_NY).astype(np.float32)
        sources = tuple(sorted({example.source for example in examples}))
        source_N = np.repeat(
            [sources.index(example.source) for example in examples],
            [len(example.labels_NY) for example in examples],
        )
        return LabelledBatch(
            patches_PK=torch.from_numpy(np.concatenate([e.patches_PK for e in examples])),
            labels_NY=torch.from_numpy(labels_NY),
            weights_NY=torch.from_numpy(weights_NY),
            sources_N=torch.from_numpy(source_N),
            sources=sources,
            grid=tuple(shape for example in examples for shape in example.grid),
            weight=float(weights_NY.sum(dtype=np.float64)),
        )


class DenseLoss(nn.Module):
    """Loss of linear heads on the vision tower, or on tower and connector; no decoder."""

    def __init__(self, model: Idefics2, objective: DenseLabels) -> None:
        super().__init__()
        self.model = model
        self.places = objective.places
        parts = ("vision_model.",) if self.places == "patches" else ("vision_model.", "connector.")
        for name, parameter in model.named_parameters():
            if not name.startswith(parts):
                parameter.requires_grad_(False)
        width = model.config.vision.width if self.places == "patches" else model.config.text.width
        self.heads = nn.ModuleList(nn.Linear(width, classes) for classes in objective.num_classes)
        for head in self.heads:
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        onednn.prepare(self.heads)

    def forward(self, batch: LabelledBatch) -> Losses:
        features_NC = self.features(batch)
        losses = []
        for y, head in enumerate(self.heads):
            labels_N = batch.labels_NY[:, y]
            losses.append(
                F.cross_entropy(
                    head(features_NC).float(),
                    labels_N.clamp(min=0),  # of what is not counted the weight is zero
                    reduction="none",
                )
            )
        weighted_NY = torch.stack(losses, 1) * batch.weights_NY
        return Losses(
            weighted_NY.sum(),
            by_source(weighted_NY.sum(1), batch.weights_NY.sum(1), batch.sources_N, batch.sources),
        )

    def features(self, batch: LabelledBatch) -> Tensor:
        """Input of the heads, [N, C]."""
        model = self.model
        if self.places == "latents":
            grid_I2 = torch.tensor(batch.grid)
            latents = model.encode_images(batch.patches_PK.to(model.device), grid_I2)
            # Of length one by the resampler's scale: the heads need what the tower's have
            return F.rms_norm(latents.flatten(0, -2), latents.shape[-1:])
        packing = Packing.of([rows * columns for rows, columns in batch.grid], model.device)
        pixels_PK = normalize(batch.patches_PK.to(model.device), model.dtype)
        features_PC: Tensor = model.vision_model(pixels_PK, batch.grid, packing)
        return features_PC

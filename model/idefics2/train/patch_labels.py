"""A dense objective for the vision tower: each patch predicts what covers it.

A tower that starts from nothing learns letters and shapes far sooner from this than through a
decoder's answers. The heads are dropped afterwards.

Axes: P patches of all pictures, K values of a patch, Y labels of a patch, C vision width, I crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from idefics2.images import pack
from idefics2.model import Idefics2, normalize
from idefics2.processor import Processor
from idefics2.train.objectives import Losses, Reader, by_source
from idefics2.vision import Packing

Array = np.ndarray[Any, np.dtype[Any]]
UNLABELLED = -1
BACKGROUND = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPicture:
    """A picture and the classes of its patches."""

    picture: Image.Image
    labels_PY: Array
    """Integers by patch, row after row, and label; 0 is background, -1 is not counted."""
    source: str = "picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPatches:
    """An encoded picture."""

    index: int
    source: str
    patches_PK: Array
    labels_PY: Array
    grid: tuple[tuple[int, int], ...]

    @property
    def num_tokens(self) -> int:
        """None: the decoder takes no part."""
        return 0

    @property
    def num_patches(self) -> int:
        return len(self.patches_PK)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchBatch:
    """A micro-batch of pictures."""

    patches_PK: Tensor
    labels_PY: Tensor
    weights_PY: Tensor
    sources_P: Tensor
    sources: tuple[str, ...]
    grid: tuple[tuple[int, int], ...]
    weight: float

    @property
    def num_tokens(self) -> int:
        return len(self.patches_PK)

    @property
    def num_examples(self) -> int:
        return len(self.grid)

    def to(self, device: torch.device) -> Self:
        return replace(
            self,
            patches_PK=self.patches_PK.to(device),
            labels_PY=self.labels_PY.to(device),
            weights_PY=self.weights_PY.to(device),
            sources_P=self.sources_P.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchLabels:
    """Cross-entropy of each label of each patch, by one linear head a label."""

    num_classes: tuple[int, ...]
    """Of each label, background included."""
    background_weight: float = 0.15
    """How much a patch counts whose label is background; others count 1."""

    def reader(self, processor: Processor, seed: int) -> Reader:
        return _PatchReader(processor, self.num_classes, self.background_weight)

    def module(self, model: Idefics2, seed: int) -> nn.Module:
        return PatchLoss(model, self.num_classes)


@dataclass(frozen=True, slots=True)
class _PatchReader:
    processor: Processor
    num_classes: tuple[int, ...]
    background_weight: float

    def encode(self, sample: LabelledPicture, index: int) -> LabelledPatches:
        images = replace(self.processor.images, split=False)
        packed = pack([sample.picture], images)
        grid = tuple((rows, columns) for rows, columns in packed.grid_I2.tolist())
        shape = (len(packed.patches_PK), len(self.num_classes))
        labels_PY = np.asarray(sample.labels_PY, np.int64)
        if labels_PY.shape != shape:
            raise ValueError(
                f"a picture of {sample.source} needs labels {shape}, not {labels_PY.shape}: "
                f"its patches are {grid}"
            )
        if (labels_PY >= np.array(self.num_classes)).any():
            raise ValueError(f"labels of {sample.source} exceed {self.num_classes} classes")
        return LabelledPatches(
            index=index,
            source=sample.source,
            patches_PK=packed.patches_PK.numpy(),
            labels_PY=labels_PY,
            grid=grid,
        )

    def collate(self, examples: Sequence[LabelledPatches]) -> PatchBatch:
        labels_PY = np.concatenate([example.labels_PY for example in examples])
        weights_PY = np.where(labels_PY == BACKGROUND, self.background_weight, 1.0)
        weights_PY = np.where(labels_PY == UNLABELLED, 0.0, weights_PY).astype(np.float32)
        sources = tuple(sorted({example.source for example in examples}))
        source_P = np.repeat(
            [sources.index(example.source) for example in examples],
            [example.num_patches for example in examples],
        )
        return PatchBatch(
            patches_PK=torch.from_numpy(np.concatenate([e.patches_PK for e in examples])),
            labels_PY=torch.from_numpy(labels_PY),
            weights_PY=torch.from_numpy(weights_PY),
            sources_P=torch.from_numpy(source_P),
            sources=sources,
            grid=tuple(shape for example in examples for shape in example.grid),
            weight=float(weights_PY.sum(dtype=np.float64)),
        )


class PatchLoss(nn.Module):
    """The vision tower under linear heads; the rest of the model stays as it is."""

    def __init__(self, model: Idefics2, num_classes: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        for name, parameter in model.named_parameters():
            if not name.startswith("vision_model."):
                parameter.requires_grad_(False)
        width = model.config.vision.width
        self.heads = nn.ModuleList(nn.Linear(width, classes) for classes in num_classes)
        for head in self.heads:
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, batch: PatchBatch) -> Losses:
        features_PC = self.features(batch)
        losses = []
        for y, head in enumerate(self.heads):
            labels_P = batch.labels_PY[:, y]
            losses.append(
                F.cross_entropy(
                    head(features_PC).float(),
                    labels_P.clamp(min=0),  # of what is not counted the weight is zero
                    reduction="none",
                )
            )
        weighted_PY = torch.stack(losses, 1) * batch.weights_PY
        return Losses(
            weighted_PY.sum(),
            by_source(weighted_PY.sum(1), batch.weights_PY.sum(1), batch.sources_P, batch.sources),
        )

    def features(self, batch: PatchBatch) -> Tensor:
        """What the heads read, [P, C]."""
        model = self.model
        packing = Packing.of([rows * columns for rows, columns in batch.grid], model.device)
        pixels_PK = normalize(batch.patches_PK.to(model.device), model.dtype)
        features_PC: Tensor = model.vision_model(pixels_PK, batch.grid, packing)
        return features_PC

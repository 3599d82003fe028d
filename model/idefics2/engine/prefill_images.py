"""The images of prefill steps, as the model's architecture takes them.

Axes: D decoder width, L visual tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from idefics2.engine.batch import PrefillBatch
from idefics2.engine.crop_cache import CropKeys, CropRun
from idefics2.engine.encoder_cache import EncoderCache
from idefics2.engine.request import LazyImage
from idefics2.engine.scheduler import Chunk, PrefillStep
from idefics2.engine.sequence import Sequence as RequestState


@dataclass(frozen=True, slots=True)
class VisualInputs:
    """What a prefill batch has of its images; by the architecture, one half or the other."""

    places: Sequence[int] = ()
    """Where in the batch visual tokens stand, in the place of `<image>` ids."""
    visual_LD: Tensor | None = None
    """These visual tokens."""
    runs: Sequence[CropRun] = ()
    """Tokens that see crops by cross-attention."""
    kept: Sequence[tuple[int, CropKeys | None]] = ()
    """Slots of the KV cache, and the crop that a sequence sees there while it is decoded."""


class PrefillImages:
    """The images of a planning batch's prompts."""

    def __init__(
        self, encoder: EncoderCache, sequences: Sequence[RequestState], *, crosses: bool
    ) -> None:
        """The images before the first step.

        Args:
            encoder: Visual tokens, or keys and values.
            sequences: Those of the planning batch, which a prompt's `index` counts.
            crosses: Whether the architecture is cross-attention.
        """
        self._encoder, self._sequences, self._crosses = encoder, sequences, crosses

    def needed(self, chunk: Chunk) -> Iterator[LazyImage]:
        """Images without which a chunk cannot be computed, perhaps more than once."""
        sequence = self._sequences[chunk.prompt.index]
        if self._crosses:
            for image, _, _ in sequence.crops_seen_between(chunk.start, chunk.stop):
                yield image
        else:
            for image, _ in sequence.images_between(chunk.start, chunk.stop):
                yield image

    def inputs(self, step: PrefillStep, batch: PrefillBatch) -> VisualInputs:
        """Those of a step whose images are encoded."""
        return self._keys(step, batch) if self._crosses else self._tokens(step, batch)

    def _tokens(self, step: PrefillStep, batch: PrefillBatch) -> VisualInputs:
        visual: list[Tensor] = []
        places: list[int] = []
        for chunk, first in zip(step.chunks, batch.starts, strict=True):
            sequence = self._sequences[chunk.prompt.index]
            for image, tokens in sequence.images_between(chunk.start, chunk.stop):
                visual.append(self._encoder.tokens(image)[tokens.start : tokens.stop])
            positions = sequence.image_positions_between(chunk.start, chunk.stop)
            places += [first + position - chunk.start for position in positions]
        return VisualInputs(places, torch.cat(visual) if visual else None)

    def _keys(self, step: PrefillStep, batch: PrefillBatch) -> VisualInputs:
        runs: list[CropRun] = []
        kept: list[tuple[int, CropKeys | None]] = []
        for chunk, first in zip(step.chunks, batch.starts, strict=True):
            sequence = self._sequences[chunk.prompt.index]
            crop: CropKeys | None = None
            for image, index, tokens in sequence.crops_seen_between(chunk.start, chunk.stop):
                crop = self._encoder.crop_keys(image)[index]
                start = first + tokens.start - chunk.start
                stop = first + tokens.stop - chunk.start
                if tokens.stop == chunk.stop:
                    stop = first + chunk.num_tokens  # scored branches see what the last token sees
                if runs and runs[-1].crop is crop and runs[-1].tokens.stop == start:
                    start = runs.pop().tokens.start
                runs.append(CropRun(range(start, stop), crop))
            if chunk.slot is not None:
                kept.append((chunk.slot, crop))
        return VisualInputs(runs=runs, kept=kept)

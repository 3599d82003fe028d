"""The engine's only access to the decoder: from batches to hidden states and logits.

Axes: T tokens of a prefill batch, W those whose hidden states are wanted, B sequences, D decoder
width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from idefics2.engine.batch import DecodeBatch, PrefillBatch, round_up
from idefics2.engine.crop_cache import CropCache, RunAttention
from idefics2.engine.cuda_graphs import CudaGraphs
from idefics2.engine.kv_cache import DecodeAttention, KVCache, PrefillAttention
from idefics2.engine.prefill_images import VisualInputs
from idefics2.model import Idefics2
from idefics2.onednn import PackedWeights

FIXED_BATCH = 8
"""Sequences of a decode batch of fixed shape; missing ones are filled by repetitions."""

SCORED_TOKENS = 256
"""Tokens whose logits are in memory at once when continuations are scored."""


class ModelRunner:
    """A model with its KV cache."""

    def __init__(
        self,
        model: Idefics2,
        cache: KVCache,
        crops: CropCache | None,
        packed: PackedWeights,
        *,
        fixed_shapes: bool,
    ) -> None:
        """A runner.

        Args:
            model: In evaluation mode, on its device.
            cache: The KV cache.
            crops: What the cross-attention architecture keeps beside it, for as many slots.
            packed: The decoder and its output projection with weights for small batches.
            fixed_shapes: Whether no tensor's shape may depend on what runs at the same time.
        """
        self._model, self.cache, self._crops, self._packed = model, cache, crops, packed
        self._fixed_shapes = fixed_shapes
        self.max_decode_batch = cache.num_slots
        """Most sequences that are decoded at once."""
        self._graphs: CudaGraphs | None = None
        if model.device.type == "cuda" and not fixed_shapes:
            self._graphs = CudaGraphs(self._next_logits, cache, model.device)

    @property
    def device(self) -> torch.device:
        return self._model.device

    @property
    def crosses(self) -> bool:
        """True if the decoder sees images by cross-attention."""
        return self._crops is not None

    @torch.inference_mode()
    def move(self, source: int, target: int, num_tokens: int) -> None:
        """Makes the sequence in a slot, of so many tokens, that of another slot."""
        self.cache.move(source, target, num_tokens)
        if self._crops is not None:
            self._crops.move(source, target)

    @torch.inference_mode()
    def prefill(self, batch: PrefillBatch, visual: VisualInputs) -> Tensor:
        """Hidden states [W, D] of a batch's wanted tokens, given what it has of its images."""
        decoder, device = self._model.text_model, self._model.device
        x_TD = decoder.embed_tokens(torch.tensor(batch.ids, device=device))
        if visual.visual_LD is not None:
            x_TD[torch.tensor(visual.places, device=device)] = visual.visual_LD
        positions_1T = torch.tensor([batch.positions], device=device)
        wanted_W = torch.tensor(batch.wanted, dtype=torch.int64, device=device)
        attention = PrefillAttention(self.cache, batch)
        context = RunAttention(visual.runs) if visual.runs else None
        y_1WD: Tensor = decoder(x_TD[None], positions_1T, attention, context, wanted_W)
        if self._crops is not None:
            for slot, crop in visual.kept:
                self._crops.keep(slot, crop)
        return y_1WD[0]

    @torch.inference_mode()
    def logits(self, x_WD: Tensor, places: Sequence[int]) -> Tensor:
        """Logits [B, V] of what follows the wanted tokens at some places."""
        logits_BV: Tensor = self._model.lm_head(x_WD[list(places)])
        return logits_BV

    @torch.inference_mode()
    def score(self, x_WD: Tensor, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Log-probabilities, for pairs of a wanted token's place and the id that follows it."""
        logprobs: list[float] = []
        for start in range(0, len(pairs), SCORED_TOKENS):
            places, ids = zip(*pairs[start : start + SCORED_TOKENS], strict=True)
            logits_BV = self.logits(x_WD, places)
            ids_B = torch.tensor(ids, device=logits_BV.device)
            logprobs_BV = logits_BV.float().log_softmax(-1)
            logprobs += logprobs_BV.gather(-1, ids_B[:, None])[:, 0].tolist()
        return logprobs

    @torch.inference_mode()
    def decode(self, batch: DecodeBatch) -> Tensor:
        """Logits [B, V] after each sequence's last token, which is added to its slot.

        The sequences are in the first slots, in their order.
        """
        if self._fixed_shapes:
            return self._decode_fixed(batch)
        if self._graphs is not None and len(batch) <= self.max_decode_batch:
            return self._graphs(batch.lengths, batch.ids)
        parts = []
        for start in range(0, len(batch), self.max_decode_batch):
            part = batch.take(range(start, min(start + self.max_decode_batch, len(batch))))
            num_keys = min(self.cache.slot_tokens, part.num_keys)
            parts.append(self._next_logits(*self._tensors(part), num_keys, start))
        return torch.cat(parts)

    def _decode_fixed(self, batch: DecodeBatch) -> Tensor:
        """Batches of eight sequences that look at the same number of keys."""
        num_keys = [round_up(length + 1) for length in batch.lengths]
        ordered = sorted(range(len(batch)), key=lambda place: num_keys[place])
        logits: dict[int, Tensor] = {}
        for number, group in groupby(ordered, key=lambda place: num_keys[place]):
            alike = list(group)
            for start in range(0, len(alike), FIXED_BATCH):
                places = alike[start : start + FIXED_BATCH]
                filled = places + [places[0]] * (FIXED_BATCH - len(places))
                logits_BV = self._next_logits(*self._tensors(batch.take(filled)), number, None)
                logits |= dict(zip(places, logits_BV, strict=False))
        return torch.stack([logits[place] for place in range(len(batch))])

    def _tensors(self, batch: DecodeBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Each sequence's slot, the tokens in it, and its last id."""
        all_3B = torch.tensor([batch.slots, batch.lengths, batch.ids], device=self._model.device)
        slot_B, length_B, id_B = all_3B
        return slot_B, length_B, id_B

    def _next_logits(
        self, slot_B: Tensor, length_B: Tensor, id_B: Tensor, num_keys: int, start: int | None
    ) -> Tensor:
        """Logits [B, V] after the ids; the other arguments are those of `DecodeAttention`."""
        attention = DecodeAttention(self.cache, slot_B, length_B, num_keys, start)
        decoder, lm_head = self._packed.modules(len(id_B))
        x_B1D = self._model.text_model.embed_tokens(id_B)[:, None]
        context = None if self._crops is None else self._crops.attention(slot_B)
        x_B1D = decoder(x_B1D, length_B[:, None], attention, context)
        logits_BV: Tensor = lm_head(x_B1D[:, 0])
        return logits_BV

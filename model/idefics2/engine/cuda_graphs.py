"""CUDA graphs of decode steps: one launch instead of hundreds.

Not run so far: no machine with a GPU was at hand.

Axes: B sequences, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from idefics2.engine.kv_cache import KVCache

NextLogits = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]
"""Logits [B, V] from `slot_B`, `length_B`, `id_B`, the number of keys and the first slot."""

FEWEST_KEYS = 64
NUM_WARMUPS = 2  # libraries choose kernels and allocate work space at their first calls


class CudaGraphs:
    """Graphs for powers of two of sequences and of keys, each captured when first needed.

    All graphs share their input buffers. A graph for more sequences than there are also computes
    the slots behind theirs: what it writes there, as a slot's first token, nobody reads.
    """

    def __init__(self, next_logits: NextLogits, cache: KVCache, device: torch.device) -> None:
        self._next_logits, self._cache, self._device = next_logits, cache, device
        self._slot_B = torch.arange(cache.num_slots, device=device)
        self._inputs_2B = torch.zeros((2, cache.num_slots), dtype=torch.int64, device=device)
        self._captured: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, lengths: Sequence[int], ids: Sequence[int]) -> Tensor:
        """Logits [B, V] of sequences in the first slots, given their lengths and last ids."""
        shape = bucket(len(ids), max(lengths), self._cache)
        empty = [0] * (shape[0] - len(ids))
        inputs_2B = torch.tensor([[*lengths, *empty], [*ids, *empty]]).pin_memory()
        self._inputs_2B[:, : shape[0]].copy_(inputs_2B, non_blocking=True)
        if shape not in self._captured:
            self._captured[shape] = self._capture(*shape)
        graph, logits_BV = self._captured[shape]
        graph.replay()
        return logits_BV[: len(ids)]

    def _capture(self, num_sequences: int, num_keys: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """A graph, and the tensor in which it leaves its logits."""
        length_B, id_B = self._inputs_2B[:, :num_sequences]
        inputs = (self._slot_B[:num_sequences], length_B, id_B, num_keys, 0)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call] # torch's
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(NUM_WARMUPS):  # repetitions write the same keys again
                self._next_logits(*inputs)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            logits_BV = self._next_logits(*inputs)
        return graph, logits_BV


def bucket(num_sequences: int, longest: int, cache: KVCache) -> tuple[int, int]:
    """Sequences and keys of the graph that serves a decode batch; `longest` is in tokens.

    Never more sequences than slots: the prefix slot is behind these.
    """
    num_keys = max(FEWEST_KEYS, _power_of_two(longest + 1))
    return min(_power_of_two(num_sequences), cache.num_slots), min(num_keys, cache.slot_tokens)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()

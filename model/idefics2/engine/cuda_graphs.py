"""CUDA graphs of the step in which answers go on: one launch instead of hundreds.

Not run so far: no machine with a GPU was at hand.

Axes: B answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from idefics2.engine.kv_cache import Rows

NextLogits = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]
"""From `row_B`, `length_B`, `id_B`, the number of keys and the first row: logits [B, V]."""

FEWEST_KEYS = 64
NUM_WARMUPS = 2  # libraries choose kernels and take work space at their first calls


class Captured(NamedTuple):
    """A graph, and where it leaves its result."""

    graph: torch.cuda.CUDAGraph
    logits_BV: Tensor


class Graphs:
    """Graphs for powers of two of answers and of keys, each captured when first needed.

    All read and write the same places in memory. A graph for more answers than there are also goes
    through the rows behind theirs: what it writes there, as a row's first token, nobody reads.
    """

    def __init__(self, next_logits: NextLogits, rows: Rows, device: torch.device) -> None:
        self._next_logits, self._rows, self._device = next_logits, rows, device
        self._row_B = torch.arange(rows.num_rows, device=device)
        self._inputs_2B = torch.zeros((2, rows.num_rows), dtype=torch.int64, device=device)
        self._captured: dict[tuple[int, int], Captured] = {}
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, lengths: Sequence[int], ids: Sequence[int]) -> Tensor:
        """Logits of answers in the first rows."""
        shape = bucket(len(ids), max(lengths), self._rows)
        empty = [0] * (shape[0] - len(ids))
        inputs_2B = torch.tensor([[*lengths, *empty], [*ids, *empty]]).pin_memory()
        self._inputs_2B[:, : shape[0]].copy_(inputs_2B, non_blocking=True)
        if shape not in self._captured:
            self._captured[shape] = self._capture(*shape)
        graph, logits_BV = self._captured[shape]
        graph.replay()
        return logits_BV[: len(ids)]

    def _capture(self, num_answers: int, num_keys: int) -> Captured:
        length_B, id_B = self._inputs_2B[:, :num_answers]
        inputs = (self._row_B[:num_answers], length_B, id_B, num_keys, 0)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call] # torch's
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(NUM_WARMUPS):  # to do it again changes nothing
                self._next_logits(*inputs)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            logits_BV = self._next_logits(*inputs)
        return Captured(graph, logits_BV)


def bucket(num_answers: int, longest: int, rows: Rows) -> tuple[int, int]:
    """Answers and keys of the graph that serves so many answers, the longest with so many tokens.

    Never more answers than there are rows for them: behind these is the trunk.
    """
    num_keys = max(FEWEST_KEYS, _power_of_two(longest + 1))
    return min(_power_of_two(num_answers), rows.num_rows), min(num_keys, rows.room)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()

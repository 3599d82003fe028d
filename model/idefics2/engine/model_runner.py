"""The engine's only way to the decoder: tokens and rows to logits.

Axes: W packed tokens whose hidden states are wanted, B answers, D decoder width, V vocabulary,
L visual tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from idefics2.engine.batch import Packed
from idefics2.engine.cuda_graphs import Graphs
from idefics2.engine.few_rows import FewRows
from idefics2.engine.kv_cache import Going, Reading, Rows
from idefics2.model import Idefics2

KEYS = 64
"""Attention looks at a multiple of so many tokens of a row."""

FIXED_BATCH = 8
"""Answers that go on together where shapes are fixed; missing ones are repetitions."""

SCORED_TOKENS = 256
"""Tokens whose logits are in memory at once when continuations are scored."""


class Growing(NamedTuple):
    """An answer that goes on."""

    row: int
    length: int
    """Tokens in its row: all but the last."""
    last_id: int

    @property
    def num_keys(self) -> int:
        """Tokens to look at, this one included."""
        return -(-(self.length + 1) // KEYS) * KEYS


class Runner:
    """A model, and rows of keys and values."""

    def __init__(
        self, model: Idefics2, rows: Rows, *, fixed_shapes: bool, few_rows: FewRows
    ) -> None:
        """`fixed_shapes`: no tensor's shape depends on what runs at the same time."""
        self._model, self.rows, self._fixed_shapes = model, rows, fixed_shapes
        self._few_rows = few_rows
        self.most_answers = rows.num_rows
        """How many go on together."""
        self._graphs: Graphs | None = None
        if model.device.type == "cuda" and not fixed_shapes:
            self._graphs = Graphs(self._next_logits, rows, model.device)

    @property
    def device(self) -> torch.device:
        return self._model.device

    @torch.inference_mode()
    def read(self, packed: Packed, slots: Sequence[int], visual_LD: Tensor | None) -> Tensor:
        """Hidden states [W, D] of a step's wanted tokens; pictures' tokens are at `slots`."""
        decoder, device = self._model.text_model, self._model.device
        x_TD = decoder.embed_tokens(torch.tensor(packed.ids, device=device))
        if visual_LD is not None:
            x_TD[torch.tensor(slots, device=device)] = visual_LD
        positions_1T = torch.tensor([packed.positions], device=device)
        wanted_W = torch.tensor(packed.wanted, dtype=torch.int64, device=device)
        y_1WD: Tensor = decoder(
            x_TD[None], positions_1T, None, Reading(self.rows, packed), wanted_W=wanted_W
        )
        return y_1WD[0]

    @torch.inference_mode()
    def logits(self, x_WD: Tensor, places: Sequence[int]) -> Tensor:
        """Logits [B, V] of what follows the tokens at some places among the wanted ones."""
        logits_BV: Tensor = self._model.lm_head(x_WD[list(places)])
        return logits_BV

    @torch.inference_mode()
    def score(self, x_WD: Tensor, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """The logarithm of the probability that an id follows a wanted token, for each pair."""
        logprobs: list[float] = []
        for start in range(0, len(pairs), SCORED_TOKENS):
            places, ids = zip(*pairs[start : start + SCORED_TOKENS], strict=True)
            logits_BV = self.logits(x_WD, places)
            ids_B = torch.tensor(ids, device=logits_BV.device)
            logprobs_BV = logits_BV.float().log_softmax(-1)
            logprobs += logprobs_BV.gather(-1, ids_B[:, None])[:, 0].tolist()
        return logprobs

    @torch.inference_mode()
    def go_on(self, answers: Sequence[Growing]) -> Tensor:
        """Logits [B, V] after each answer's last token, which its row now has too.

        The answers are in the first rows, in their order.
        """
        if self._fixed_shapes:
            return self._go_on_by_eights(answers)
        if self._graphs is not None and len(answers) <= self.most_answers:
            _, lengths, ids = zip(*answers, strict=True)
            return self._graphs(lengths, ids)
        parts = []
        for start in range(0, len(answers), self.most_answers):
            part = answers[start : start + self.most_answers]
            num_keys = min(self.rows.room, max(answer.num_keys for answer in part))
            parts.append(self._next_logits(*self._tensors(part), num_keys, start))
        return torch.cat(parts)

    def _go_on_by_eights(self, answers: Sequence[Growing]) -> Tensor:
        logits: dict[int, Tensor] = {}
        ordered = sorted(answers, key=lambda answer: answer.num_keys)
        for num_keys, group in groupby(ordered, key=lambda answer: answer.num_keys):
            alike = list(group)
            for start in range(0, len(alike), FIXED_BATCH):
                part = alike[start : start + FIXED_BATCH]
                filled = part + [part[0]] * (FIXED_BATCH - len(part))
                logits_BV = self._next_logits(*self._tensors(filled), num_keys, None)
                logits |= {
                    answer.row: row_V for answer, row_V in zip(part, logits_BV, strict=False)
                }
        return torch.stack([logits[answer.row] for answer in answers])

    def _tensors(self, answers: Sequence[Growing]) -> tuple[Tensor, Tensor, Tensor]:
        """Each answer's row, the tokens in it, and the id of the next."""
        all_3B = torch.tensor(list(zip(*answers, strict=True)), device=self._model.device)
        row_B, length_B, id_B = all_3B
        return row_B, length_B, id_B

    def _next_logits(
        self, row_B: Tensor, length_B: Tensor, id_B: Tensor, num_keys: int, start: int | None
    ) -> Tensor:
        """Logits [B, V]; the arguments are those of `rows.Going`."""
        going = Going(self.rows, row_B, length_B, num_keys, start)
        decoder = self._model.text_model
        x_B1D = decoder.embed_tokens(id_B)[:, None]
        with self._few_rows.used(len(id_B)):
            x_B1D = decoder(x_B1D, length_B[:, None], None, going)
            logits_BV: Tensor = self._model.lm_head(x_B1D[:, 0])
        return logits_BV

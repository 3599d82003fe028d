"""Optimisers of a stage, by parameter name, with their learning-rate schedule."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from idefics2.train.muon import Muon

UNDECAYED = r"(^|\.)(bias|latents|alpha_\w+)$|norm\d?\.|embed|lora_magnitude_vector"
"""Names without weight decay: biases, norms, latents, gates, and all embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """AdamW (Loshchilov and Hutter, 2019)."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MuonRule:
    """Muon (Jordan et al., 2024): orthogonalised momentum, for matrices alone."""

    lr: float
    momentum: float = 0.95
    weight_decay: float = 0.0
    num_iterations: int = 5
    """Newton-Schulz iterations."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The optimiser of the parameters whose names the pattern is found in."""

    pattern: str
    optimizer: AdamW | MuonRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A factor on every learning rate: linear warm-up, level, then decay to `floor`."""

    warmup_steps: int = 0
    decay: Literal["constant", "linear", "cosine"] = "constant"
    level_share: float = 0.0
    """Share of the stage's steps, warm-up included, after which the decay begins."""
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.decay not in ("constant", "linear", "cosine"):
            raise ValueError(f"decay is {self.decay!r}, not constant, linear or cosine")
        if not 0 <= self.level_share < 1 or not 0 <= self.floor <= 1 or self.warmup_steps < 0:
            raise ValueError(f"a schedule out of range: {self}")

    def factor(self, step: int, num_steps: int) -> float:
        """The factor of that step, the first being 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        start = max(self.warmup_steps, round(self.level_share * num_steps))
        if self.decay == "constant" or step < start:
            return 1.0
        share = min(1.0, (step - start) / max(1, num_steps - start))
        remaining = 1 - share if self.decay == "linear" else (1 + math.cos(math.pi * share)) / 2
        return self.floor + (1 - self.floor) * remaining


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """How one stage's parameters are optimised."""

    rules: tuple[Rule, ...]
    """The first that fits a parameter counts; parameters without a rule are an error."""
    schedule: Schedule = field(default_factory=Schedule)
    undecayed: str = UNDECAYED
    """Parameters in whose names this is found have no weight decay."""
    max_grad_norm: float | None = 1.0
    """Global gradient norm to which gradients are clipped; None: no clipping."""


class Optimizers:
    """The optimisers of a stage as one."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        optimization: Optimization,
        num_steps: int,
        *,
        partial: Collection[str] = (),
    ) -> None:
        """`partial`: endings of names of parameters of which only some rows have gradients.

        They have no weight decay: it would move the other rows.
        """
        self.optimization, self.num_steps = optimization, num_steps
        chosen: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for name, parameter in parameters:
            rule_index = _rule_of(name, parameter, optimization.rules)
            is_partial = name.endswith(tuple(partial))
            is_undecayed = is_partial or re.search(optimization.undecayed, name) is not None
            chosen.setdefault((rule_index, is_undecayed), []).append(parameter)
        adamw, muon = [], []
        for (rule_index, is_undecayed), group in chosen.items():
            rule = optimization.rules[rule_index].optimizer
            decay = 0.0 if is_undecayed else rule.weight_decay
            settings: dict[str, Any] = {
                "params": group,
                "lr": rule.lr,
                "full_lr": rule.lr,
                "weight_decay": decay,
            }
            if isinstance(rule, AdamW):
                adamw.append(settings | {"betas": rule.betas, "eps": rule.eps})
            else:
                muon.append(
                    settings | {"momentum": rule.momentum, "num_iterations": rule.num_iterations}
                )
        self.all: list[torch.optim.Optimizer] = []
        if adamw:
            self.all.append(torch.optim.AdamW(adamw))
        if muon:
            self.all.append(Muon(muon))

    def step(self, step: int) -> float:
        """Updates the parameters, and returns the highest learning rate of that step."""
        factor = self.optimization.schedule.factor(step, self.num_steps)
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return max(float(group["lr"]) for o in self.all for group in o.param_groups)

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self.all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self.all, states, strict=True):
            optimizer.load_state_dict(state)


def _rule_of(name: str, parameter: nn.Parameter, rules: tuple[Rule, ...]) -> int:
    for index, rule in enumerate(rules):
        if isinstance(rule.optimizer, MuonRule) and parameter.ndim != 2:
            continue
        if re.search(rule.pattern, name):
            return index
    raise ValueError(f"no optimiser for {name}: no rule's pattern is found in it")

"""The trainings that are compared: each changes one thing of the reference arm, `ar-lora`.

The reference is the fully autoregressive model with a perceiver, strong backbones with LoRA, and
square pictures that are not split. An arm of several findings is trained once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .backbones import Strength

Training = Literal["frozen", "lora", "full"]

RATES: dict[Training, float] = {"frozen": 1e-3, "lora": 1e-3, "full": 3e-4}
"""AdamW rates of backbones or of their adapters, chosen by the validation part with one seed: LoRA
scored 57.5, 60.7 and 58.4 with 3e-4, 1e-3 and 3e-3, full training 54.8 and 45.6 with 3e-4 and 1e-3.
Frozen backbones have none to learn with."""

SWEEP = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
BARE_RATE = 1e-2
"""Learning rate of backbones without remedies: thirty times that of `RATES`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One training, but for its seed."""

    name: str
    finding: int
    """The first of the paper's findings that needs it."""
    training: Training = "lora"
    """How backbones learn; new modules always do."""
    vision: Strength = "strong"
    text: Strength = "strong"
    model: Mapping[str, Any] = field(default_factory=dict)
    """What it changes of the model's configuration."""
    rate: float | None = None
    """Learning rate of backbones or adapters; None: that of `RATES`."""
    has_remedies: bool = True
    """Warm-up, shortened gradients, and a lower rate for backbones than for new modules."""
    is_native: bool = False
    """True: pictures keep their aspect ratio."""
    split_share: float = 0.0
    """Share of training samples shown whole and in quarters."""
    is_asked_split: bool = False
    """True: the evaluation is repeated with split pictures."""
    flops_of: str | None = None
    """A cheaper arm: this one has as many training FLOPs, by fewer steps."""

    @property
    def backbones_rate(self) -> float:
        return RATES[self.training] if self.rate is None else self.rate


CROSS = {"architecture": "cross_attention"}
REFERENCE = "ar-lora"

_EQUAL_SAMPLES = (
    # Finding 2: architectures and what is trained
    Arm(name="ar-frozen", finding=2, training="frozen"),
    Arm(name="ca-frozen", finding=2, training="frozen", model=CROSS),
    Arm(name=REFERENCE, finding=2, is_asked_split=True),
    Arm(name="ca-lora", finding=2, model=CROSS),
    Arm(name="ar-full", finding=2, training="full"),
    Arm(name="ca-full", finding=2, training="full", model=CROSS),
    Arm(name="ar-full-bare", finding=2, training="full", rate=BARE_RATE, has_remedies=False),
    Arm(
        name="ca-full-bare",
        finding=2,
        training="full",
        rate=BARE_RATE,
        has_remedies=False,
        model=CROSS,
    ),
    # Finding 4: connectors and visual tokens
    Arm(name="linear-frozen", finding=4, training="frozen", model={"connector": "linear"}),
    Arm(name="mlp-frozen", finding=4, training="frozen", model={"connector": "mlp"}),
    Arm(name="mlp-lora", finding=4, model={"connector": "mlp"}),
    Arm(name="latents-16", finding=4, model={"num_latents": 16}),
    Arm(name="latents-64", finding=4, model={"num_latents": 64}),
    Arm(name="latents-128", finding=4, model={"num_latents": 128}),
    # Finding 6: splitting
    Arm(name="split-half", finding=6, split_share=0.5, is_asked_split=True),
    Arm(name="split-all", finding=6, split_share=1.0, is_asked_split=True),
    # Finding 5: aspect ratio
    Arm(name="native", finding=5, is_native=True),
    # Finding 1: backbones
    Arm(name="weak-text", finding=1, text="weak"),
    Arm(name="weak-vision", finding=1, vision="weak"),
    Arm(name="weak-both", finding=1, vision="weak", text="weak"),
    # Finding 3: learning rates
    *(Arm(name=f"lora-{rate:g}", finding=3, rate=rate) for rate in SWEEP if rate != RATES["lora"]),
    *(
        Arm(name=f"full-{rate:g}", finding=3, training="full", rate=rate)
        for rate in SWEEP
        if rate != RATES["full"]
    ),
)

_DEARER = ("latents-64", "latents-128", "split-half", "split-all")
"""Arms that take more than 1.2 times the reference's FLOPs a sample."""


def equal_flops(name: str) -> str:
    """The arm trained again at the reference's FLOPs; others cost about as much and stay."""
    return f"{name}-equal" if name in _DEARER else name


_EQUAL_FLOPS = tuple(
    replace(arm, name=equal_flops(arm.name), flops_of=REFERENCE)
    for arm in _EQUAL_SAMPLES
    if arm.name in _DEARER
)

ARMS = {arm.name: arm for arm in _EQUAL_SAMPLES + _EQUAL_FLOPS}
"""Arms by name, in the order of training."""

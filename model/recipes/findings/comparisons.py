"""Which arms a finding compares, on which questions, and what the paper saw.

Source of all its numbers: Laurencon et al., 2024 (arXiv:2405.02246), in points of its own scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from .arms import RATES, REFERENCE, SWEEP, Training
from .evaluation import Item

TEXT = "Section 3.2"
"""It tells of a divergence and has no number."""

Group = Literal["all", "reading", "others", "pages and slips", "shapes"]

GROUPS: Mapping[Group, Callable[[Item], bool]] = {
    "all": lambda item: True,
    "reading": lambda item: item.kind == "read",
    "others": lambda item: item.kind != "read",
    "pages and slips": lambda item: item.family != "shapes",
    "shapes": lambda item: item.family == "shapes",
}
"""Questions of one kind. Reading: the answer is a word that the picture shows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An arm, and how it is shown the test part's pictures."""

    arm: str
    how: Literal["whole", "split"] = "whole"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What `b` has more than `a`."""

    text: str
    a: Shown
    b: Shown
    group: Group = "all"
    papers: float | None
    """Its effect in points; None: it names the direction only, which is `sign`."""
    source: str
    sign: Literal[-1, 0, 1] = 1
    """Effect's sign where the paper has no number; 0: it saw none."""

    @property
    def papers_sign(self) -> float:
        return self.sign if self.papers is None else self.papers


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One of the six."""

    number: int
    claim: str
    """The paper's, shortened."""
    comparisons: tuple[Comparison, ...]


def _versus(
    text: str,
    a: str,
    b: str,
    papers: float | None,
    source: str,
    group: Group = "all",
    sign: Literal[-1, 0, 1] = 1,
) -> Comparison:
    return Comparison(
        text=text, a=Shown(a), b=Shown(b), group=group, papers=papers, source=source, sign=sign
    )


def rate_arm(training: Training, rate: float) -> str:
    """The arm of the sweep with that rate; the chosen one has another name."""
    if rate == RATES[training]:
        return REFERENCE if training == "lora" else "ar-full"
    return f"{training}-{rate:g}"


FINDINGS = (
    Finding(
        number=1,
        claim="A better language model helps more than a better vision tower of as many "
        "parameters.",
        comparisons=(
            _versus("stronger decoder", "weak-text", REFERENCE, 5.1, "Table 1"),
            _versus("stronger tower", "weak-vision", REFERENCE, 3.3, "Table 2"),
            _versus(
                "decoder's effect less tower's", "weak-text", "weak-vision", 1.8, "Tables 1, 2"
            ),
        ),
    ),
    Finding(
        number=2,
        claim="Cross-attention is better with frozen backbones, the fully autoregressive "
        "architecture where they are trained.",
        comparisons=(
            _versus(
                "frozen: cross-attention less autoreg.",
                "ar-frozen",
                "ca-frozen",
                6.4,
                "Table 3",
            ),
            _versus("LoRA: cross-attention less autoreg.", "ar-lora", "ca-lora", -2.2, "Table 3"),
            _versus("autoreg.: LoRA less frozen", "ar-frozen", "ar-lora", 9.2, "Table 3"),
            _versus("cross-attention: LoRA less frozen", "ca-frozen", "ca-lora", 0.6, "Table 3"),
        ),
    ),
    Finding(
        number=3,
        claim="Full training of the autoregressive model can diverge; LoRA adapts backbones and is "
        "stable.",
        comparisons=(
            _versus("LoRA less full, with remedies", "ar-full", REFERENCE, None, TEXT),
            _versus("LoRA less full, without remedies", "ar-full-bare", REFERENCE, None, TEXT),
            *(
                _versus(
                    f"LoRA less full at rate {rate:g}",
                    rate_arm("full", rate),
                    rate_arm("lora", rate),
                    None,
                    TEXT,
                )
                for rate in SWEEP
            ),
        ),
    ),
    Finding(
        number=4,
        claim="Learned pooling to fewer visual tokens costs less and scores higher.",
        comparisons=(
            _versus(
                "frozen: perceiver less linear", "linear-frozen", "ar-frozen", 15.8, "Table 11"
            ),
            _versus("frozen: perceiver less MLP", "mlp-frozen", "ar-frozen", 8.5, "Table 11"),
            _versus("LoRA: perceiver less MLP", "mlp-lora", REFERENCE, None, "Section 3.3"),
            _versus(
                "32 latents less 64, reading", "latents-64", REFERENCE, None, "Table 4", "reading"
            ),
            _versus("64 latents less 128", "latents-128", "latents-64", 0.5, "Table 4"),
            _versus("32 latents less 128", "latents-128", REFERENCE, None, "Table 4"),
            _versus("16 latents less 32", REFERENCE, "latents-16", None, "not compared", sign=0),
        ),
    ),
    Finding(
        number=5,
        claim="Native aspect ratio costs less than squares and scores no lower.",
        comparisons=(
            _versus("native less square", REFERENCE, "native", -1.0, "Table 5"),
            _versus(
                "the same, pages and slips",
                REFERENCE,
                "native",
                None,
                "Table 5",
                "pages and slips",
                -1,
            ),
            _versus(
                "the same, square pictures", REFERENCE, "native", None, "Table 5", "shapes", -1
            ),
        ),
    ),
    Finding(
        number=6,
        claim="Splitting pictures buys accuracy with computation, above all in reading.",
        comparisons=(
            Comparison(
                text="asked split less whole, reading (half of training split)",
                a=Shown("split-half"),
                b=Shown("split-half", "split"),
                group="reading",
                papers=4.65,
                source="Table 9: TextVQA and DocVQA",
            ),
            Comparison(
                text="asked split less whole, others (half of training split)",
                a=Shown("split-half"),
                b=Shown("split-half", "split"),
                group="others",
                papers=-0.27,
                source="Table 9: MMMU, MathVista, MMBench",
            ),
            Comparison(
                text="half split and asked split less never split, reading",
                a=Shown(REFERENCE),
                b=Shown("split-half", "split"),
                group="reading",
                papers=None,
                source="Section 3.5",
            ),
            Comparison(
                text="all of training split less half, asked split, reading",
                a=Shown("split-half", "split"),
                b=Shown("split-all", "split"),
                group="reading",
                papers=None,
                source="Section 4.2: half suffices",
                sign=0,
            ),
        ),
    ),
)

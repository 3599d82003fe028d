"""Settings that stages share: optimisers, schedules, batch sizes, logging and saving."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from idefics2.train.augmentation import Augmentation
from idefics2.train.dense_labels import DenseLabels, LabelledPicture
from idefics2.train.objectives import Answers
from idefics2.train.optimization import AdamW, MuonRule, Optimization, Rule, Schedule
from idefics2.train.recipe import Evaluate, Stage

from .conversations import PLAIN, Wording
from .mixture import ConversationMixture

VISION_TOWER, CONNECTOR = r"^vision_model\.", r"^connector\."
DECODER = (r"^text_model\.", r"^lm_head\.")
"""Names of the parts' parameters, for `Stage.frozen`."""

MAX_TOKENS = 2048
"""Tokens of a conversation with its pictures; a split picture takes 5 * 64 and a few."""

SELDOM_SPLIT = Wording(split_small=0.2)

LEVEL = Schedule(warmup_steps=50)
DOWN = Schedule(warmup_steps=50, decay="linear", level_share=0.2, floor=0.01)
SLOWLY_DOWN = Schedule(warmup_steps=50, decay="linear", level_share=0.1, floor=0.01)
LEVEL_THEN_DOWN = Schedule(warmup_steps=50, decay="linear", level_share=0.5, floor=0.02)


def labels_stage(
    name: str,
    *,
    draw: Callable[[int], LabelledPicture],
    objective: DenseLabels,
    optimization: Optimization,
    frozen: tuple[str, ...],
    num_steps: int,
) -> Stage:
    """A stage that classifies patches or latents, without the decoder."""
    return Stage(
        name=name,
        draw=draw,
        objective=objective,
        optimization=optimization,
        frozen=frozen,
        num_steps=num_steps,
        batch_size=64,
        micro_tokens=1,
        micro_patches=4096,
        log_every=25,
        save_every=200,
    )


def answers_stage(
    name: str,
    *,
    seed: str,
    shares: Mapping[str, float],
    optimization: Optimization,
    frozen: tuple[str, ...],
    num_steps: int,
    wording: Wording = PLAIN,
    evaluate: Evaluate | None = None,
) -> Stage:
    """A stage that learns the answers of conversations from several sources."""
    return Stage(
        name=name,
        draw=ConversationMixture(seed=seed, shares=shares, wording=wording),
        objective=Answers(max_tokens=MAX_TOKENS, augmentation=Augmentation(shuffle_turns=True)),
        optimization=optimization,
        frozen=frozen,
        num_steps=num_steps,
        batch_size=64,
        micro_tokens=4096,  # more of them leave the cache
        micro_patches=1536,
        evaluate=evaluate,
        log_every=25,
        save_every=100,
    )


def whole_model_stage(
    name: str,
    *,
    seed: str,
    shares: Mapping[str, float],
    num_steps: int,
    schedule: Schedule,
    peak: float = 0.7,
    connector: float = 0.5,
    tower: float = 0.15,
    wording: Wording = SELDOM_SPLIT,
    evaluate: Evaluate | None = None,
) -> Stage:
    """An `answers_stage` that trains all parameters, at the rates of `optimization`."""
    return answers_stage(
        name,
        seed=seed,
        shares=shares,
        optimization=optimization(peak=peak, connector=connector, tower=tower, schedule=schedule),
        frozen=(),
        num_steps=num_steps,
        wording=wording,
        evaluate=evaluate,
    )


def optimization(
    *, peak: float, schedule: Schedule, connector: float = 1.0, tower: float = 1.0
) -> Optimization:
    """Muon for the matrices of layers, AdamW for all other parameters.

    `peak`: the decoder's learning rates, as multiples of Muon's 0.01 and AdamW's 0.001.
    `connector`, `tower`: their learning rates, as multiples of the decoder's.
    """
    return Optimization(
        rules=(
            Rule(r"connector\..*(layers\.|modality_projection)", _muon(peak * connector)),
            Rule(r"vision_model\..*layers\.", _muon(peak * tower)),
            Rule(r"vision_model\.", _adamw(peak * tower)),
            Rule(r"layers\.", _muon(peak)),
            Rule("", _adamw(peak)),
        ),
        schedule=schedule,
    )


def _adamw(peak: float) -> AdamW:
    return AdamW(lr=1e-3 * peak, betas=(0.9, 0.98))


def _muon(peak: float) -> MuonRule:
    return MuonRule(lr=0.01 * peak, weight_decay=0.05, num_iterations=4)

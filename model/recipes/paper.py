"""The trainings of the paper (arXiv:2405.02246), with every value that it publishes.

`recipe` is the whole: two stages of pre-training, instruction tuning, and the chatty model. The
functions below it are the ablations of section 3, each of 6,000 steps of the first stage.

A value without a remark is the paper's (section 4, or the table named). "M4": not published, and
taken from the authors' training code, whose state is later than the paper. "Ours": neither.

Samples come from JSON-lines files (`idefics2.train.mixture.Lines`) named SOURCE.jsonl in the folder
that the environment variable IDEFICS2_DATA names. Nothing here was ever run at this size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from idefics2.config import IDEFICS2_8B, Connector, Idefics2Config
from idefics2.images import ImageSettings
from idefics2.train import (
    AdamW,
    Adapters,
    Answers,
    Augmentation,
    Optimization,
    Recipe,
    Rule,
    Schedule,
    Stage,
)
from idefics2.train.backbones import Backbones
from idefics2.train.mixture import Lines, Mixture
from idefics2.train.samples import Sample, Together

NEW_TOKENS = (32000, 32001)
"""<fake_token_around_image> and <image>."""

BACKBONES = (r"^vision_model\.", r"^text_model\.(layers|norm)\b")
"""Frozen but for their adapters."""

LORA = Adapters(kind="lora", rank=64, alpha=16, dropout=0.1)  # M4; "LoRA" is the paper's
DORA = replace(LORA, kind="dora")  # rank, alpha, dropout: ours, as in pre-training

LEARNING_RATE = 1e-4
BATCH = 2048
IMAGES_A_STEP = 17_000
ALL_IMAGES = 1_500_000_000
PRETRAINING_STEPS = ALL_IMAGES // IMAGES_A_STEP // 2
"""Steps of each stage: ours. The paper gives the images of both together."""

SEQUENCES = (("obelics", 2048), ("pairs", 1536), ("pdfs", 1024))
PAIRS_A_SEQUENCE = 17  # ours: 66 tokens of a picture and about 24 of its caption

AT_384 = ImageSettings(square=384)  # squares: the model card
AT_980 = ImageSettings(longest_side=980, shortest_side=378)

UPSCALING = Augmentation(
    upscale_share=0.7,
    upscale_least=1.5,
    upscale_most=3.0,  # M4
)
INSTRUCTION = replace(
    UPSCALING,
    split_share=0.5,
    shuffle_turns=True,
    max_turns=7,  # M4
    newline_share=0.05,  # M4
)


def recipe() -> Recipe:
    """Idefics2-8B from its backbones to the chatty model."""
    stages = (stage_1(), stage_2(), instruction(), chatty())
    return Recipe(name="idefics2-8b", start=Backbones(config=IDEFICS2_8B), stages=stages)


def stage_1() -> Stage:
    """Pre-training at 384 x 384."""
    return Stage(
        name="stage-1",
        draw=_Mixed({"obelics": 0.70, "pairs": 0.30}),
        objective=Answers(max_tokens=2048, source_tokens=SEQUENCES, z_loss=1e-3),  # z_loss: M4
        optimization=_adamw(LEARNING_RATE, Schedule(warmup_steps=5000)),  # schedule: M4
        num_steps=PRETRAINING_STEPS,
        batch_size=BATCH,
        micro_tokens=8192,  # ours
        micro_patches=131_072,  # ours
        images=AT_384,
        adapters=LORA,
        frozen=BACKBONES,
        trained_tokens=NEW_TOKENS,
        precision="bfloat16",  # ours
        recompute=True,  # M4
        workers=8,  # ours
    )


def stage_2() -> Stage:
    """Pre-training at native resolution and aspect ratio, with PDFs."""
    return replace(
        stage_1(),
        name="stage-2",
        draw=_Mixed({"obelics": 0.45, "pairs": 0.35, "pdfs": 0.20}),
        objective=Answers(
            max_tokens=2048, source_tokens=SEQUENCES, z_loss=1e-3, augmentation=UPSCALING
        ),
        optimization=_adamw(LEARNING_RATE, Schedule(warmup_steps=2000)),  # schedule: M4
        images=AT_980,
    )


def instruction() -> Stage:
    """Instruction tuning on the mixture of Table 14, with DoRA; the loss is on answers."""
    return replace(
        stage_1(),
        name="instruction",
        draw=_Mixed(_samples_of_table_14()),
        objective=Answers(
            max_tokens=2048,  # ours
            augmentation=INSTRUCTION,
            neftune_alpha=5.0,  # ours: the lowest of the NEFTune paper
        ),
        # Ours; rate, decay and steps are those of Idefics3's instruction tuning
        optimization=_adamw(5e-5, Schedule(warmup_steps=50, decay="linear")),
        num_steps=5000,
        batch_size=1024,
        images=AT_980,
        adapters=DORA,
        trained_tokens=(*NEW_TOKENS, 32002),  # with <end_of_utterance>
    )


def chatty() -> Stage:
    """The further "few hundred steps" on long conversations."""
    return replace(
        instruction(),
        name="chatty",
        draw=_Mixed({"llava_conv": 0.5, "sharegpt4v": 0.5}),  # shares: ours
        optimization=_adamw(1e-5, Schedule(warmup_steps=20, decay="linear")),  # ours
        num_steps=300,  # ours
        batch_size=2048,  # ours; "large"
    )


def autoregressive() -> Recipe:
    """Table 3: visual tokens in the sequence, LoRA; 69.5. The others change one thing of this."""
    return _ablation("autoregressive")


def autoregressive_frozen() -> Recipe:
    """Table 3: only the connector is trained; 60.3."""
    return _ablation("autoregressive-frozen", adapters=None)


def autoregressive_full() -> Recipe:
    """Table 3: all parameters; diverged."""
    return _ablation("autoregressive-full", adapters=None, frozen=(), trained_tokens=None)


def cross_attention() -> Recipe:
    """Table 3: gated cross-attention, LoRA; 67.3."""
    return _ablation("cross-attention", _crossed())


def cross_attention_frozen() -> Recipe:
    """Table 3: gated cross-attention, frozen backbones; 66.7."""
    return _ablation("cross-attention-frozen", _crossed(), adapters=None)


def latents_128() -> Recipe:
    """Table 4: 128 visual tokens an image; 71.2 against 71.7 with 64."""
    perceiver = replace(IDEFICS2_8B.perceiver, num_latents=128)
    return _ablation("latents-128", replace(IDEFICS2_8B, perceiver=perceiver))


def linear_connector() -> Recipe:
    """Table 11: one projection and no pooling, backbones frozen; 44.5."""
    return _ablation("linear-connector", _connected("linear"), adapters=None)


def mlp_connector() -> Recipe:
    """Table 11: a mapping network and no pooling, backbones frozen; 51.8."""
    return _ablation("mlp-connector", _connected("mlp"), adapters=None)


def square_images() -> Recipe:
    """Table 5: squares of 768 pixels; 73.1."""
    return _ablation("square-images", images=ImageSettings(square=768))


def native_images() -> Recipe:
    """Table 5: native aspect ratio, sides from 378 to 768; 72.1."""
    return _ablation("native-images", images=ImageSettings(longest_side=768, shortest_side=378))


def splitting_none() -> Recipe:
    """Section 3.5: instruction tuning without splitting."""
    return _splitting(0.0)


def splitting_half() -> Recipe:
    """Section 3.5: half of the samples split, which suffices."""
    return _splitting(0.5)


def splitting_all() -> Recipe:
    """Section 3.5: every sample split."""
    return _splitting(1.0)


def _ablation(name: str, config: Idefics2Config = IDEFICS2_8B, **changes: Any) -> Recipe:
    stage = replace(stage_1(), name=name, num_steps=6000, **changes)
    return Recipe(name=name, start=Backbones(config=config), stages=(stage,))


def _splitting(share: float) -> Recipe:
    stage = instruction()
    assert isinstance(stage.objective, Answers)
    augmentation = replace(INSTRUCTION, split_share=share)
    stage = replace(stage, objective=replace(stage.objective, augmentation=augmentation))
    stages = (stage_1(), stage_2(), stage)
    name = f"splitting-{share:.0%}"
    return Recipe(name=name, start=Backbones(config=IDEFICS2_8B), stages=stages)


def _crossed() -> Idefics2Config:
    return replace(IDEFICS2_8B, architecture="cross_attention")


def _connected(connector: Connector) -> Idefics2Config:
    return replace(IDEFICS2_8B, connector=connector)


def _adamw(learning_rate: float, schedule: Schedule) -> Optimization:
    # Betas, decay and what it spares, and the clipping: M4
    adamw = AdamW(lr=learning_rate, betas=(0.9, 0.999), weight_decay=0.1)
    undecayed = r"bias|alpha_|norm|perceiver_resampler"
    return Optimization(
        rules=(Rule("", adamw),), schedule=schedule, undecayed=undecayed, max_grad_norm=1.0
    )


@dataclass
class _Mixed:
    """A mixture whose files are opened when the first sample is drawn."""

    shares: Mapping[str, float]
    mixture: Mixture | None = None

    def __call__(self, index: int) -> Sample:
        if self.mixture is None:
            folder = Path(os.environ.get("IDEFICS2_DATA", "data"))
            sources: dict[str, Callable[[int], Any]] = {
                name: Lines.open(folder / f"{name}.jsonl", name) for name in self.shares
            }
            if "pairs" in sources:
                sources["pairs"] = _Several(sources["pairs"], PAIRS_A_SEQUENCE)
            self.mixture = Mixture(sources, self.shares)
        sample: Sample = self.mixture(index)
        return sample


@dataclass(frozen=True)
class _Several:
    """So many samples of a source as one."""

    source: Callable[[int], Any]
    count: int

    def __call__(self, number: int) -> Together:
        first = number * self.count
        return Together(tuple(self.source(first + place) for place in range(self.count)))


def _samples_of_table_14() -> dict[str, float]:
    """Shares of samples: the table's shares are of answer tokens, so each by its sample's tokens.

    A sample is a picture with its questions, or a text-only question.
    """
    return {
        name: percent * num_samples / answer_tokens
        for name, (num_samples, answer_tokens, percent) in TABLE_14.items()
    }


TABLE_14 = {
    # Samples, answer tokens, percent of the mixture by answer tokens
    "vqav2": (82_772, 1_595_929, 5.72),
    "coco_qa": (46_287, 286_982, 1.47),
    "visual7w": (14_366, 279_268, 1.43),
    "a_okvqa": (16_539, 236_492, 1.21),
    "tallyqa": (98_680, 738_254, 0.57),
    "ok_vqa": (8_998, 38_853, 0.4),
    "hatefulmemes": (8_500, 25_500, 0.13),
    "vqa_rad": (313, 8_418, 0.09),
    "lnarratives": (507_444, 21_328_731, 4.56),
    "screen2words": (15_730, 143_103, 0.37),
    "vsr": (2_157, 10_062, 0.21),
    "renderedtext": (999_000, 27_207_774, 5.57),
    "docvqa": (10_189, 337_829, 3.46),
    "textcaps": (21_953, 389_658, 2.0),
    "textvqa": (21_953, 181_918, 1.86),
    "st_vqa": (17_247, 127_846, 1.31),
    "ocr_vqa": (165_746, 6_073_824, 0.93),
    "visualmrc": (3_027, 168_828, 0.86),
    "iam": (5_663, 144_216, 0.74),
    "infovqa": (2_118, 61_048, 0.63),
    "diagram_image_to_text": (300, 22_196, 0.11),
    "chart2text": (26_985, 2_852_827, 4.38),
    "dvqa": (200_000, 8_346_234, 4.27),
    "vistext": (7_057, 1_245_485, 1.91),
    "chartqa": (18_271, 185_835, 1.9),
    "plotqa": (157_070, 8_478_299, 0.65),
    "figureqa": (100_000, 3_982_104, 0.61),
    "mapqa": (37_417, 6_470_485, 0.33),
    "tabmwp": (22_729, 1_948_166, 2.49),
    "tat_qa": (2_199, 283_776, 2.18),
    "hitab": (2_500, 351_299, 1.8),
    "multihiertt": (7_619, 267_615, 1.37),
    "finqa": (5_276, 242_561, 0.99),
    "wikisql": (74_989, 9_680_673, 0.99),
    "sqa": (8_514, 1_894_824, 0.97),
    "wtq": (38_246, 6_677_013, 0.51),
    "geomverse": (9_303, 2_489_459, 3.83),
    "clevr_math": (70_000, 3_184_656, 3.26),
    "clevr": (70_000, 2_396_781, 1.23),
    "iconqa": (27_315, 112_969, 1.16),
    "raven": (42_000, 105_081, 0.67),
    "inter_gps": (1_451, 8_404, 0.17),
    "ai2d": (3_099, 38_832, 0.8),
    "tqa": (1_496, 26_004, 0.53),
    "scienceqa": (4_985, 24_872, 0.25),
    "nlvr2": (50_426, 259_119, 1.33),
    "gsd": (70_939, 4_637_229, 0.48),
    "spot_the_diff": (8_566, 221_477, 0.57),
    "websight": (500_000, 276_743_299, 0.28),
    "datikz": (47_974, 59_556_252, 0.03),
    "openhermes_2_5": (1_006_223, 248_553_747, 12.73),
    "lima": (1_052, 633_867, 0.81),
    "dolly": (14_972, 1_329_999, 0.68),
    "metamathqa": (395_000, 74_328_255, 3.81),
    "mathinstruct": (261_781, 45_393_559, 2.33),
    "orcamath": (200_031, 63_780_702, 1.63),
    "camelaimath": (49_744, 21_873_629, 0.06),
    "atlasmathsets": (17_807_579, 455_411_624, 3.5),
    "goat": (1_746_300, 167_695_693, 0.86),
}
"""The paper's Table 14: pictures, or questions where there are none; all their answers' tokens."""

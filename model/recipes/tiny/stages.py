"""The stages of the training, in order; each is named for what it teaches.

A stage's `seed` is part of the seed of each of its samples. The log of the bundled checkpoint was
written under other names: there the stages are called by these seeds.
"""

from __future__ import annotations

from functools import partial

from idefics2.train.dense_labels import DenseLabels
from idefics2.train.recipe import Stage

from . import shares
from .conversations import Wording
from .evaluation import evaluate
from .labels import CLASSES, COLOR_CLASSES, SLOTS, labelled_by_cell, labelled_by_patch
from .stage_settings import (
    CONNECTOR,
    DECODER,
    DOWN,
    LEVEL,
    LEVEL_THEN_DOWN,
    SLOWLY_DOWN,
    VISION_TOWER,
    answers_stage,
    labels_stage,
    optimization,
    whole_model_stage,
)

CLOSED_WEIGHT = 0.3
"""Loss weight of "yes" and "no" while the model learns to see: they depend less on the picture than
their share of the data suggests."""


def patch_labels() -> Stage:
    """Teaches the vision tower what covers each half of a patch, and the patch's colour."""
    return labels_stage(
        "patch-labels",
        draw=partial(labelled_by_patch, "vision"),
        objective=DenseLabels(num_classes=(len(CLASSES), len(CLASSES), len(COLOR_CLASSES))),
        optimization=optimization(peak=1.0, schedule=LEVEL_THEN_DOWN),
        frozen=(CONNECTOR, *DECODER),
        num_steps=1200,
    )


def cell_labels() -> Stage:
    """Teaches each latent the characters in its cell of the picture, and their colour.

    The tower is trained further: its features told what is on a patch, but hardly where it is.
    """
    return labels_stage(
        "cell-labels",
        draw=partial(labelled_by_cell, "sight"),
        objective=DenseLabels(
            places="latents", num_classes=(len(CLASSES),) * SLOTS + (len(COLOR_CLASSES),)
        ),
        optimization=optimization(peak=1.0, tower=0.5, schedule=LEVEL_THEN_DOWN),
        frozen=DECODER,
        num_steps=2000,
    )


def option_letters() -> Stage:
    """Teaches the decoder which letter a text of the question has, without pictures.

    A small share of the samples does not teach it, and to spell a text again is half of reading.
    """
    return answers_stage(
        "option-letters",
        seed="letters",
        shares=shares.OPTION_LETTERS,
        optimization=optimization(peak=1.0, schedule=LEVEL),
        frozen=(VISION_TOWER, CONNECTOR),
        num_steps=400,
    )


def reading() -> Stage:
    """Teaches the decoder to write down what the latents hold."""
    return answers_stage(
        "reading",
        seed="reading",
        shares=shares.READING,
        optimization=optimization(peak=1.0, connector=0.3, schedule=LEVEL),
        frozen=(VISION_TOWER,),
        num_steps=400,
        wording=Wording(closed_weight=CLOSED_WEIGHT),
    )


def text_lines() -> Stage:
    """Teaches reading from tens of thousands of lines, in small pictures that are not split."""
    return answers_stage(
        "text-lines",
        seed="spelling",
        shares=shares.TEXT_LINES,
        optimization=optimization(peak=1.0, connector=0.5, schedule=LEVEL),
        frozen=(VISION_TOWER,),
        num_steps=400,
        wording=Wording(closed_weight=CLOSED_WEIGHT, split_small=0.0),
    )


def all_tasks() -> Stage:
    """Teaches all tasks to the whole model.

    The tower is trained too, as it has seen no clock or bar yet, but slowly: at the decoder's rate
    it would forget where things are.
    """
    return whole_model_stage(
        "all-tasks", seed="whole", shares=shares.TASKS, num_steps=200, schedule=LEVEL
    )


def locating() -> Stage:
    """Teaches to find the one of several things that a question names."""
    return answers_stage(
        "locating",
        seed="finding",
        shares=shares.LOCATING,
        optimization=optimization(peak=0.7, connector=0.5, schedule=LEVEL),
        frozen=(VISION_TOWER,),
        num_steps=300,
        wording=Wording(split_small=0.0),
    )


def more_text() -> Stage:
    """Teaches all tasks with more text, at a falling learning rate."""
    return whole_model_stage(
        "more-text",
        seed="last",
        shares=shares.MORE_TEXT,
        num_steps=1100,
        schedule=DOWN,
        evaluate=evaluate,
    )


def answer_letters() -> Stage:
    """Teaches the decoder the letter of a text that it has just written.

    Where the question names the text, as in "lookup", something else is learnt.
    """
    return _answer_letters("answer-letters", seed="picking", num_steps=400)


def tasks_and_letters() -> Stage:
    """Teaches all tasks, and letters, at a falling learning rate."""
    return whole_model_stage(
        "tasks-and-letters",
        seed="end",
        shares=shares.TASKS_AND_LETTERS,
        num_steps=280,
        schedule=DOWN,
        peak=0.35,
        evaluate=evaluate,
    )


def answer_letters_again() -> Stage:
    """Teaches the same by other samples, as it was not learnt to the end."""
    return _answer_letters("answer-letters-again", seed="naming", num_steps=500)


def _answer_letters(name: str, *, seed: str, num_steps: int) -> Stage:
    return answers_stage(
        name,
        seed=seed,
        shares=shares.ANSWER_LETTERS,
        optimization=optimization(peak=0.4, schedule=LEVEL),
        frozen=(VISION_TOWER, CONNECTOR),
        num_steps=num_steps,
        wording=Wording(split_small=0.0),
    )


def rationales_large_text() -> Stage:
    """Teaches rationales on all questions of a picture, mostly of small ones.

    The tower's rate is higher than in the stages before: it has seen few clocks and rulers.
    """
    return whole_model_stage(
        "rationales-large-text",
        seed="exercises",
        shares=shares.RATIONALES_LARGE_TEXT,
        num_steps=600,
        schedule=LEVEL,
        peak=0.4,
        tower=0.3,
        wording=Wording(split_small=0.0, all_questions=True, large_text_only=True),
    )


def rationales() -> Stage:
    """Teaches the same on pages and signs of small text too."""
    return whole_model_stage(
        "rationales",
        seed="final",
        shares=shares.RATIONALES,
        num_steps=300,
        schedule=LEVEL,
        peak=0.4,
        wording=Wording(all_questions=True),
    )


def rationales_annealed() -> Stage:
    """Teaches the same at a falling learning rate.

    Tower and resampler have higher rates: most wrong answers were things not seen well.
    """
    return whole_model_stage(
        "rationales-annealed",
        seed="settling",
        shares=shares.RATIONALES_ANNEALED,
        num_steps=1100,
        schedule=SLOWLY_DOWN,
        peak=0.4,
        connector=0.7,
        tower=0.35,
        wording=Wording(all_questions=True),
        evaluate=evaluate,
    )


def answers_from_rationales() -> Stage:
    """Teaches the arithmetic and the look-up that lead from a rationale to its answer.

    Half of all small pictures are split, as all are where the harness asks.
    """
    return whole_model_stage(
        "answers-from-rationales",
        seed="concluding",
        shares=shares.ANSWERS_FROM_RATIONALES,
        num_steps=400,
        schedule=DOWN,
        peak=0.3,
        wording=Wording(split_small=0.5, all_questions=True),
        evaluate=evaluate,
    )

"""The training of the bundled checkpoint, stage by stage.

The vision tower is trained alone first, to classify the character or shape on each patch; then
tower and resampler, to classify what is in the cell of each latent. The decoder then learns the
letters of options and to read lines of text; at last the whole model is trained on the mini tasks,
worded as the harness asks them, with rationales before answers that take several steps. Sizes and
settings are not the paper's, but for the number of latents.
"""

from __future__ import annotations

from idefics2.train.recipe import Recipe

from . import stages
from .checkpoint import start
from .sizes import SEED


def recipe() -> Recipe:
    """The whole training, from random weights."""
    return Recipe(
        name="tiny",
        start=start,
        stages=(
            stages.patch_labels(),
            stages.cell_labels(),
            stages.option_letters(),
            stages.reading(),
            stages.text_lines(),
            stages.all_tasks(),
            stages.locating(),
            stages.more_text(),
            stages.answer_letters(),
            stages.tasks_and_letters(),
            stages.answer_letters_again(),
            stages.rationales_large_text(),
            stages.rationales(),
            stages.rationales_annealed(),
            stages.answers_from_rationales(),
        ),
        seed=SEED,
    )

"""Training: recipes, objectives, and the loop that runs them."""

from idefics2.train.adapters import PAPER_TARGETS, Adapters
from idefics2.train.augmentation import Augmentation
from idefics2.train.dense_labels import DenseLabels, LabelledPicture
from idefics2.train.loop import train
from idefics2.train.objectives import Answers, Losses, Objective
from idefics2.train.optimization import AdamW, MuonRule, Optimization, Rule, Schedule
from idefics2.train.recipe import Recipe, Stage
from idefics2.train.samples import Conversation, Document, Sample, Turn

__all__ = [
    "PAPER_TARGETS",
    "AdamW",
    "Adapters",
    "Answers",
    "Augmentation",
    "Conversation",
    "DenseLabels",
    "Document",
    "LabelledPicture",
    "Losses",
    "MuonRule",
    "Objective",
    "Optimization",
    "Recipe",
    "Rule",
    "Sample",
    "Schedule",
    "Stage",
    "Turn",
    "train",
]

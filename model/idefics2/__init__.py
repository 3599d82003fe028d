"""Idefics2 (Laurencon et al., 2024, arXiv:2405.02246) on torch alone.

    model, processor = idefics2.load("HuggingFaceM4/idefics2-8b", dtype=torch.bfloat16)

A tensor's name ends in the letters of its axes, and a letter means one thing in all files. An image
here is a crop: the whole picture, or one of the five that splitting makes.

    B sequences      T query tokens             S keys: cached tokens and new ones
    D decoder width  H query heads              G kv heads            E head width    V vocabulary
    I crops          P patches of all crops     K pixel values of a patch             C vision width
    R latents of a crop                         L visual tokens of all crops
    W tokens whose hidden states are wanted

The engine: U slots of the KV cache, M tokens of all slots. Training: A tokens to be predicted,
Z segments that attend together, X queries and J keys of each, N labelled places (patches or
latents), Y labels of a place.
"""

from idefics2.ask import Answer, answer
from idefics2.chat import Message
from idefics2.checkpoint import Checkpoint, load
from idefics2.config import Idefics2Config
from idefics2.generate import Generation, Sampling
from idefics2.images import ImageSettings
from idefics2.model import Idefics2
from idefics2.processor import Processor
from idefics2.prompt import Prompt
from idefics2.tokens import Compat

__all__ = [
    "Answer",
    "Checkpoint",
    "Compat",
    "Generation",
    "Idefics2",
    "Idefics2Config",
    "ImageSettings",
    "Message",
    "Processor",
    "Prompt",
    "Sampling",
    "answer",
    "load",
]

"""Sizes of the model and of its input."""

from __future__ import annotations

SEED = 0

PATCH, LONGEST, SHORTEST = 8, 96, 32
"""Sides of a patch and of a crop (its longest and shortest), in pixels."""

WIDTH, HEADS = 128, 4
VISION_LAYERS, TEXT_LAYERS, PERCEIVER_LAYERS = 4, 4, 2

CELLS = (8, 8)
"""Rows and columns of the grid of cells that a picture is divided into, a latent for each."""

NUM_LATENTS = CELLS[0] * CELLS[1]

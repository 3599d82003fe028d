"""Each source's share of a stage's samples; `mixture` says what the sources are.

The order of a table's entries matters: samples are drawn by it.
"""

from __future__ import annotations

OPTION_LETTERS = {"lookup": 1.0}

READING = {
    "lookup": 0.12,
    "lines": 0.38,
    "shapes": 0.1,
    "places": 0.05,
    "attributes": 0.05,
    "chart": 0.05,
    "vqav2": 0.05,
    "textvqa": 0.12,
    "docvqa": 0.08,
}

TEXT_LINES = {
    "lookup": 0.05,
    "lines": 0.65,
    "shapes": 0.04,
    "attributes": 0.04,
    "chart": 0.04,
    "vqav2": 0.04,
    "textvqa": 0.1,
    "docvqa": 0.04,
}

TASKS = {
    "lookup": 0.04,
    "lines": 0.06,
    "shapes": 0.03,
    "places": 0.04,
    "attributes": 0.04,
    "chart": 0.04,
    "easy_vqa": 0.05,
    "vqav2": 0.09,
    "textvqa": 0.17,
    "docvqa": 0.18,
    "mmmu": 0.1,
    "mathvista": 0.1,
    "mmbench": 0.08,
}

LOCATING = {
    "lookup": 0.03,
    "lines": 0.1,
    "places": 0.25,
    "attributes": 0.12,
    "chart": 0.1,
    "vqav2": 0.08,
    "textvqa": 0.08,
    "docvqa": 0.12,
    "mmmu": 0.04,
    "mmbench": 0.08,
}

MORE_TEXT = TASKS | {"lines": 0.09, "textvqa": 0.2, "docvqa": 0.22}

ANSWER_LETTERS = {
    "pick": 0.46,
    "lookup": 0.1,
    "textvqa": 0.06,
    "docvqa": 0.06,
    "mmmu": 0.1,
    "mathvista": 0.06,
    "mmbench": 0.16,
}

TASKS_AND_LETTERS = MORE_TEXT | {"pick": 0.08, "easy_vqa": 0.12}

RATIONALES_LARGE_TEXT = {
    "pick": 0.05,
    "lookup": 0.02,
    "lines": 0.1,
    "shapes": 0.04,
    "places": 0.02,
    "attributes": 0.02,
    "chart": 0.06,
    "easy_vqa": 0.05,
    "vqav2": 0.07,
    "textvqa": 0.17,
    "docvqa": 0.12,
    "mmmu": 0.1,
    "mathvista": 0.14,
    "mmbench": 0.04,
}

RATIONALES = {
    "pick": 0.04,
    "lookup": 0.01,
    "conclude": 0.06,
    "lines": 0.06,
    "shapes": 0.03,
    "places": 0.02,
    "attributes": 0.02,
    "chart": 0.05,
    "easy_vqa": 0.06,
    "vqav2": 0.07,
    "textvqa": 0.17,
    "docvqa": 0.18,
    "mmmu": 0.12,
    "mathvista": 0.16,
    "mmbench": 0.05,
}

RATIONALES_ANNEALED = RATIONALES | {
    "conclude": 0.03,
    "pick": 0.03,
    "lines": 0.09,
    "shapes": 0.04,
    "places": 0.01,
    "attributes": 0.01,
    "chart": 0.04,
    "vqav2": 0.08,
    "textvqa": 0.2,
    "docvqa": 0.22,
    "mmmu": 0.1,
    "mathvista": 0.13,
}

ANSWERS_FROM_RATIONALES = {
    "conclude": 0.3,
    "lines": 0.02,
    "shapes": 0.02,
    "easy_vqa": 0.03,
    "vqav2": 0.04,
    "textvqa": 0.1,
    "docvqa": 0.11,
    "mmmu": 0.16,
    "mathvista": 0.17,
    "mmbench": 0.05,
}

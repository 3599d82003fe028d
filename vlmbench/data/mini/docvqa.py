"""Pages as in DocVQA: forms, bills, lists, tables and letters, and questions about their fields.

Level "large text": one block on a slip of at most 96 px. Level "small text": a page of 192 px with
a block in each quarter, whose letters are lost when it is shrunk to 96 px, but not when it is cut
in four; no glyph crosses a cut.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from typing import Any

from vlmbench.data.mini.blocks import BUILDERS, Block
from vlmbench.data.mini.drawing import Box, Canvas
from vlmbench.data.mini.fields import Fact
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.paper import HEADING_STYLES, KEY_STYLES, SEPARATORS, Paper, Side, line_ink
from vlmbench.data.mini.scenes import LARGE, Exercise, Part, text_level
from vlmbench.data.mini.words import divided

SIDES: tuple[Side, ...] = ("left", "right")
STYLES = tuple(product(KEY_STYLES, SIDES, HEADING_STYLES, SEPARATORS))
"""Typesettings of a page; parts have different combinations of the same choices."""

PAGES = tuple(
    kinds
    for kinds in product(sorted(BUILDERS), repeat=4)
    if kinds.count("letter") <= 1 and len(set(kinds)) > 1
)
"""Kinds of the blocks in a page's quarters; parts have different combinations."""

MARGIN = 4
"""Pixels between a text and the picture's edges and cuts."""


def draw(rng: random.Random, part: Part, index: int) -> list[dict[str, Any]]:
    """Rows of a scene: up to four questions about a slip, six about a page."""
    canvas, facts = _sheet_of(rng, part, index)
    most = 4 if text_level(index) == LARGE else 6
    return _rows(rng, part, index, canvas, rng.sample(facts, min(len(facts), most)))


def exercises(rng: random.Random, part: Part, index: int) -> list[Exercise]:
    """A question for every fact on the page."""
    canvas, facts = _sheet_of(rng, part, index)
    return [Exercise(row) for row in _rows(rng, part, index, canvas, facts)]


def _sheet_of(rng: random.Random, part: Part, index: int) -> tuple[Canvas, Sequence[Fact]]:
    return (_slip if text_level(index) == LARGE else _page)(rng, part)


def _rows(
    rng: random.Random, part: Part, index: int, canvas: Canvas, facts: Sequence[Fact]
) -> list[dict[str, Any]]:
    rows = []
    for i, fact in enumerate(facts):
        question = rng.choice(fact.questions)
        rows.append(
            {
                "questionId": str(10 * index + i),
                "question": question.capitalize() if rng.random() < 0.5 else question,
                "question_types": [fact.type, text_level(index)],
                "image": canvas.image,
                "docId": index,
                "ucsf_document_id": f"{part}{index}",
                "ucsf_document_page_no": "1",
                "answers": list(dict.fromkeys((fact.answer, fact.answer.lower()))),
                "data_split": part,
            }
        )
    return rows


def _slip(rng: random.Random, part: Part) -> tuple[Canvas, Sequence[Fact]]:
    paper = _paper(rng, part, size=rng.randint(13, 14), width=8 * rng.randint(11, 12))
    num_lines = rng.randint(3, min(5, (96 - 2 * MARGIN) // paper.pitch))
    block = _block(rng, part, rng.choice(sorted(BUILDERS)), paper, num_lines, set())
    height = 2 * MARGIN + paper.pitch * len(block.lines)
    canvas = _sheet(rng, paper.width, min(96, height + rng.randint(0, 8)))
    _set(canvas, Box(0, 0, canvas.width, canvas.height), paper, block)
    return canvas, block.facts


def _page(rng: random.Random, part: Part) -> tuple[Canvas, Sequence[Fact]]:
    canvas = _sheet(rng, 192, rng.choice((160, 192, 192)))
    paper = _paper(rng, part, size=rng.randint(12, 14), width=canvas.width // 2)
    across, down = canvas.width // 2, canvas.height // 2
    most = min(6, (down - 2 * MARGIN) // paper.pitch)
    used: set[str] = set()
    facts: list[Fact] = []
    for i, kind in enumerate(rng.choice(divided(PAGES, part))):
        left, top = i % 2 * across, i // 2 * down
        block = _block(rng, part, kind, paper, rng.randint(3, most), used)
        _set(canvas, Box(left, top, left + across, top + down), paper, block)
        facts += block.facts
    return canvas, facts


def _paper(rng: random.Random, part: Part, size: int, width: int) -> Paper:
    keys, side, headings, separator = rng.choice(divided(STYLES, part))
    return Paper(
        face=rng.choice(FACES[part]),
        size=size,
        width=width,
        room=width - 2 * MARGIN,
        keys=keys,
        side=side,
        headings=headings,
        separator=separator,
        is_capital=rng.random() < 0.3,
        color=_shade(rng, 0, 70),
    )


def _sheet(rng: random.Random, width: int, height: int) -> Canvas:
    return Canvas(width, height, background=_shade(rng, 215, 255))


def _shade(rng: random.Random, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (rng.randint(low, high) for _ in range(3))
    return red, green, blue


def _block(
    rng: random.Random, part: Part, kind: str, paper: Paper, num_lines: int, used: set[str]
) -> Block:
    """A block of the kind that says something; rare ones have no line that fits."""
    while not (block := BUILDERS[kind](rng, part, paper, num_lines, used)).facts:
        pass
    return block


def _set(canvas: Canvas, cell: Box, paper: Paper, block: Block) -> None:
    """Draw the block's lines into the cell from its top on."""
    top = line_ink(paper.face, paper.size).top
    left, right = cell.left + MARGIN, cell.right - MARGIN
    for i, line in enumerate(block.lines):
        y = cell.top + MARGIN + i * paper.pitch
        color = paper.color
        if line.is_heading and paper.headings == "bar":
            bar = Box(cell.left + 1, y - 2, cell.right - 1, y + paper.pitch - 3)
            canvas.rectangle(bar, fill=paper.color)
            color = (255, 255, 255)
        if line.is_heading and paper.headings == "underlined":
            canvas.line(left, y + paper.pitch - 2, right - 1, y + paper.pitch - 2, paper.color)
        x = left
        if line.is_heading and paper.headings == "centered":
            x += (paper.room - paper.width_of(line.left)) // 2
        canvas.write(x, y - top, line.left, paper.face, paper.size, color)
        if line.right:
            x = right - paper.width_of(line.right)
            canvas.write(x, y - top, line.right, paper.face, paper.size, color)

"""The legend of axis letters in `idefics2/__init__.py` is that of all files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import idefics2

PACKAGE = Path(idefics2.__file__).parent
SUFFIX = re.compile(r"[a-z]\w*?_([A-Z0-9]+(?:_[A-Z]+)?)")


def letters_in_names(path: Path) -> set[str]:
    """Axis letters of a file's variables, parameters, fields and attributes."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    found = (SUFFIX.fullmatch(name) for name in names)
    return {letter for match in found if match for letter in match[1] if letter.isalpha()}


def explained(text: str) -> dict[str, set[str]]:
    """Letters and the words that explain them, from lists such as "B sequences, D width"."""
    parts = re.split(r"(?<![\w.])([A-Z])(?= [a-z])", text)
    return {
        letter: set(re.findall("[a-z]{3,}", words))
        for letter, words in zip(parts[1::2], parts[2::2], strict=True)
    }


def legend() -> dict[str, set[str]]:
    assert idefics2.__doc__ is not None
    _, _, text = idefics2.__doc__.partition("A tensor's name")
    return explained(text.partition("\n\n")[2])


def test_every_letter_is_in_the_legend_and_every_letter_of_the_legend_is_used() -> None:
    used = {path: letters_in_names(path) for path in sorted(PACKAGE.rglob("*.py"))}
    unknown = {path.name: found - set(legend()) for path, found in used.items()}
    assert {name: letters for name, letters in unknown.items() if letters} == {}
    assert set(legend()) == set().union(*used.values())


def test_files_explain_their_letters_as_the_legend_does() -> None:
    """In one word at least: "D width" for "D decoder width", but never "I images" for "I crops"."""
    wrong = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        for letter, words in explained(doc.partition("Axes")[2]).items():
            if not words & legend().get(letter, set()):
                wrong[path.name, letter] = words
    assert wrong == {}

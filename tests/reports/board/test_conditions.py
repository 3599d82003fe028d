"""Conditions mean what they say, and wrong ones are one line with the place."""

from __future__ import annotations

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.reports.board.conditions import Facts, parse

NAMES = ("params", "tokens", "system", "verified", "docvqa", "docvqa@test")
FACTS: Facts = {
    "params": [8e9],
    "tokens": [None],
    "system": ["Idefics2-8B (64 tok)"],
    "verified": [True],
    "docvqa": [67.3, 80.0],
    "docvqa@test": [67.3],
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params<10e9", True),
        ("params < 8B", False),
        ("params<=8B", True),
        ("params=8e9", True),
        ("params!=8e9", False),
        ("params > 500M and params < 9_0", None),
        ("docvqa>70", True),
        ("docvqa@test>70", False),
        ("verified", True),
        ("not verified", False),
        ("verified=true", True),
        ("verified=false", False),
        ("verified!=false", True),
        ("system=idefics2*", True),
        ("system='Idefics2-8B (64 tok)'", True),
        ('system!="Idefics2*"', False),
        ("tokens<100", False),
        ("tokens!=64", False),
        ("not tokens<100", True),
        ("params<1 or verified and docvqa>70", True),
        ("(params<1 or verified) and docvqa>90", False),
        ("not (params<1 or not verified)", True),
        ("docvqa", False),
    ],
)
def test_a_condition_holds_or_not(text: str, holds: bool | None) -> None:
    if holds is None:
        with pytest.raises(VlmbenchError, match="a number should be where '9_0' is"):
            parse(text, NAMES)
    else:
        assert parse(text, NAMES)(FACTS) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends where the name of a fact should be"),
        ("params<", "ends where a value should be"),
        ("params 10e9", "and, or, or the end should be where '10e9' is (at character 8)"),
        ("params<ten", "a number should be where 'ten' is (at character 8)"),
        ("prams<10e9", "did you mean params?"),
        ("__import__('os').system('x')", "no fact named '__import__'"),
        ("(params<1", "ends where a ) should be"),
        ("params<1)", "should be where ')' is"),
        ("params<1 and", "ends where the name of a fact"),
        ("and", "the name of a fact should be where 'and' is"),
        ("params<<1", "a value should be where '<' is"),
        ("system='open", "has no meaning"),
        ("verified>false", "a number should be"),
        ("(" * 5000, "more than 100"),
        ("params<1\nand", "ends where"),
    ],
)
def test_a_wrong_condition_is_one_line(text: str, message: str) -> None:
    with pytest.raises(VlmbenchError) as raised:
        parse(text, NAMES)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)

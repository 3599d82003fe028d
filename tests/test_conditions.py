"""Conditions mean what they say, and wrong ones are one line with the place."""

from __future__ import annotations

import pytest

from vlmbench.conditions import Facts, parse
from vlmbench.errors import VlmbenchError

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
        ("system='idefics2-8b (64 TOK)' and (((verified)))", True),
        ("not not verified and not (tokens<1 or params>9e9)", True),
    ],
)
def test_a_condition_holds_or_not(text: str, holds: bool | None) -> None:
    if holds is None:
        with pytest.raises(VlmbenchError, match="a number should follow"):
            parse(text, NAMES)
    else:
        assert parse(text, NAMES)(FACTS) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it ends too early (at character 1)"),
        ("params<", "'<' is out of place (at character 7)"),
        ("params 10e9", "'10e9' is out of place (at character 8)"),
        ("params<ten", "a number should follow (at character 8)"),
        ("prams<10e9", "did you mean params?"),
        ("__import__('os').system('x')", "no fact named '__import__'"),
        ("(params<1", "it ends too early (at character 10)"),
        ("params<1)", "')' is out of place (at character 9)"),
        ("params<1 and", "it ends too early"),
        ("and", "'and' is out of place (at character 1)"),
        ("params<<1", "'<<' is out of place (at character 7)"),
        ("system=and", "'=' is out of place (at character 7)"),
        (
            "system=Idefics2 (64 tok)",
            "'(' is out of place (at character 17); write such as NAME<10",
        ),
        ("system='open", "'=' is out of place (at character 7)"),
        ("verified>false", "a number should follow"),
        ("params<1 not verified", "'not' is out of place"),
        ("(" * 5000, "is out of place (at character 101)"),
        ("not " * 5000, "is out of place (at character 401)"),
        ("verified or " * 5000, "it ends too early"),
        ("params<1\nand", "it ends too early"),
    ],
)
def test_a_wrong_condition_is_one_line(text: str, message: str) -> None:
    with pytest.raises(VlmbenchError) as raised:
        parse(text, NAMES)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)

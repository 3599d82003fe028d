"""Scorers take linear time, however answer and option grow together."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.metrics import mmmu, parse
from vlmbench.metrics.anls import MAX_LENGTH, anls
from vlmbench.metrics.mathvista.statements import best_overlap
from vlmbench.metrics.parse import last_place, last_whole, places

few = st.text("ab -.", max_size=12)


@given(few.filter(bool), few)
def test_places_are_all_places(part: str, text: str) -> None:
    expected = [n for n in range(len(text)) if text.startswith(part, n)]
    assert list(places(part, text)) == expected


@pytest.mark.parametrize("find", [last_whole, last_place])
@given(part=few.filter(str.strip), text=few)
def test_the_linear_search_is_the_other_one(
    find: Callable[[str, str], int], part: str, text: str
) -> None:
    expected = find(part, text)
    before, parse.LARGE = parse.LARGE, -1
    try:
        assert find(part, text) == expected
    finally:
        parse.LARGE = before


def seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


@pytest.mark.parametrize("unit", ["a", "ab", "a ", ". ", "- ", "1,", "a.b "])
@pytest.mark.parametrize("find", [last_whole, last_place, mmmu._last_place])
def test_a_search_of_long_in_long_is_linear(find: Callable[[str, str], int], unit: str) -> None:
    text = unit * (200_000 // len(unit))
    for part in (text[: len(text) // 2], text[: len(text) // 2] + "z", "z" + text[:50_000]):
        assert seconds(partial(find, part, text + " " + part)) < 2


def test_overlap_with_long_options_is_linear() -> None:
    texts = [" ".join(f"word{n}x{side}" for n in range(50_000)) for side in "ab"]
    sentences = [f"word{n}xa is what it is" for n in range(3_000)]
    assert seconds(lambda: [best_overlap(sentence, texts) for sentence in sentences]) < 3


def test_anls_of_long_texts_is_bounded() -> None:
    long = "ab" * (MAX_LENGTH // 2)
    assert seconds(lambda: anls(long, [long[::-1]])) < 2
    assert seconds(lambda: anls(long * 100, ["ab", long])) < 2
    with pytest.raises(ValueError, match="50,000 characters are not compared"):
        anls(long * 2, [long * 2 + "c"])


@given(st.text("ab ", max_size=30), st.text("ab ", max_size=30))
def test_the_quick_way_out_changes_no_value(left: str, right: str) -> None:
    from rapidfuzz.distance import Levenshtein

    length = max(len(left), len(right))
    one, two = re.sub(" +", " ", left).strip(), re.sub(" +", " ", right).strip()
    plain = 1 - Levenshtein.distance(one, two) / length if length else 1.0
    assert anls(left, [right]) == (plain if plain >= 0.5 else 0.0)

"""Reasoning as lmms-eval and VLMEvalKit take it out of a response."""

from __future__ import annotations

import time

import pytest

from vlmbench.metrics.reasoning import lmms_stripped, vlmevalkit_split


@pytest.mark.parametrize(
    ("response", "stripped"),
    [
        ("<think>a</think>\nB", "B"),
        ("<analysis>a</analysis>B", "B"),
        ("a</think>B", "B"),
        ("a</think>b</think>B", "B"),
        ("<think>a</think>X<think>b</think>B", "XB"),
        ("<think>a", "<think>a"),
        ("<THINK>a</THINK>B", "<THINK>a</THINK>B"),
        ("<think>a<think>b</think>c</think>B", "B"),
        ("<th<think>a</think>ink>b</think>B", "B"),
        ("<thinking>a</thinking>B", "<thinking>a</thinking>B"),
        ("</think><think>B", "</think><think>B"),
        (" B \n", "B"),
    ],
)
def test_lmms_eval_takes_tags_literally(response: str, stripped: str) -> None:
    assert lmms_stripped(response) == stripped


def test_a_task_of_lmms_eval_may_have_other_tags_or_none() -> None:
    assert lmms_stripped("<r>a</r>B <think>c</think>", [("<r>", "</r>")]) == "B <think>c</think>"
    assert lmms_stripped(" <think>a</think>B", []) == " <think>a</think>B"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>a</think>\n B ", "B"),
        ("a</think>b</think>B", "B"),
        (" <think>a", " <think>a"),
        ("<analysis>a</analysis>B", "<analysis>a</analysis>B"),
        ("a</think>", ""),
    ],
)
def test_vlmevalkit_takes_what_follows_the_last_closing_tag(response: str, answer: str) -> None:
    assert vlmevalkit_split(response) == answer


def test_many_tags_take_no_long_time() -> None:
    started = time.process_time()
    lmms_stripped("<think></think>" * 100_000)
    lmms_stripped("<think>" * 100_000)
    assert time.process_time() - started < 2

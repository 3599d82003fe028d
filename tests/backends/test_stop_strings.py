"""Stop strings end an answer, and never the thought before it."""

from __future__ import annotations

import pytest

from vlmbench.backends.stop_strings import cut, opens_thought

STOPS = ("Question", "User", "\n\n")

CHANNELS = "<|channel|>analysis<|message|>a User<|end|><|channel|>final<|message|>B"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("yes", "yes"),
        ("yes\nUser: and Question", "yes\n"),
        ("Question", ""),
        ("<think>The User asks a Question.\n\n</think>yes", None),
        ("<think>The User asks", None),
        ("<think>Hm</think>yes\n\nno", "<think>Hm</think>yes"),
        ("The User asks.\n\n</think>yes User", "The User asks.\n\n</think>yes "),
        ("\n<analysis>a User</analysis>B", None),
        ("[THINK]a Question[/THINK]B", None),
        (f"{CHANNELS} User", f"{CHANNELS} "),
    ],
)
def test_only_the_answer_is_cut(text: str, kept: str | None) -> None:
    expected = text if kept is None else kept
    assert cut(text, STOPS) == (expected, expected != text)


def test_a_thought_that_the_prompt_opens_is_not_cut() -> None:
    assert cut("A Question", STOPS, is_thinking=True) == ("A Question", False)
    assert cut("A Question</think>yes User", STOPS, is_thinking=True).text.endswith("yes ")


@pytest.mark.parametrize(
    ("prompt", "is_open"),
    [
        ("User: why?\nAssistant:<think>\n", True),
        ("User: what is <think>? \nAssistant:", False),
        ("Assistant:<think>\n\n</think>\n\n", False),
        ("User: <think> \nAssistant:<think>", True),
        ("Assistant:", False),
    ],
)
def test_a_prompt_opens_a_thought_by_its_last_words(prompt: str, is_open: bool) -> None:
    assert opens_thought(prompt) is is_open

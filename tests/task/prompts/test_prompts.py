"""Requests from samples: shots, blind and OCR variants, and what no sample may do."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request, Sample
from vlmbench.task.binding import PromptSettings
from vlmbench.task.prompts import FORMS, STYLES, draw_shots, request

Make = Callable[..., Sample]
Ask = Callable[..., Request]
Text = Callable[[Message], str]
Numbers = Callable[[Request], list[int]]

FIVE_ANSWERS = ("blue", "red", "red", "blue", "two")
LETTERED = {"question": "Who?", "options": {"A": "cat", "B": "dog"}}


def test_a_request_carries_the_sample_s_id_and_image_group_and_the_given_limit(made: Make) -> None:
    asked = request(made("Who?"), form="docvqa", style="lmms", max_new_tokens=7)
    assert (asked.id, asked.image_group, asked.max_new_tokens) == ("s1", "g", 7)


def test_shots_are_answered_turns_before_the_question_with_their_pictures(
    made: Make, ask: Ask, model_text: Callable[[Request], str]
) -> None:
    shots = [
        made("What?", first=7, answers=FIVE_ANSWERS),
        made("Where?", first=8, answers=["here"]),
    ]
    brief = "\nGive a very brief answer.<end_of_utterance>\nAssistant:"
    assert model_text(ask(made("Who?"), "idefics2-m4", "docvqa", shots=shots)) == (
        f"User:[7]What?{brief} blue<end_of_utterance>\n"
        f"User:[8]Where?{brief} here<end_of_utterance>\n"
        f"User:[1]Who?{brief}"
    )


def test_a_ranked_shot_is_answered_behind_the_prefix(made: Make, ask: Ask, text_of: Text) -> None:
    shot = made(**LETTERED, answers=("B",))
    messages = ask(made(**LETTERED), "idefics2-m4", "choice", shots=[shot]).messages
    assert text_of(messages[1]) == "Answer: B"


def test_a_mathvista_shot_is_answered_with_the_letter_of_its_text(
    made: Make, ask: Ask, text_of: Text
) -> None:
    shot = made(**LETTERED, answers=("dog",))
    messages = ask(made(**LETTERED), "lmms", "mathvista", shots=[shot]).messages
    assert text_of(messages[1]) == "B"


def test_a_shot_s_pictures_are_interleaved(made: Make, ask: Ask, numbers: Numbers) -> None:
    shot = made("<image 2> or <image 1>?", images=2, first=5, interleaved=True, answers=("no",))
    asked = ask(made("<image 1>?", interleaved=True), "idefics2", "mmmu", shots=[shot])
    assert numbers(asked) == [6, 5, 1]


def test_the_base_style_is_template_9_as_one_text(made: Make, ask: Ask, text_of: Text) -> None:
    shots = [
        made("What?", first=7, answers=FIVE_ANSWERS),
        made("Where?", first=8, answers=["here"]),
    ]
    (message,) = ask(made("Who?"), "idefics2-m4-base", "textvqa", shots=shots).messages
    assert message.role == "user"
    assert text_of(message) == (
        "Instruction: provide an answer to the question. Use the image to answer.\n"
        "Image:[7]Question: What? Answer: blue\n"
        "Image:[8]Question: Where? Answer: here\n"
        "Image:[1]Question: Who? Answer:"
    )


def test_a_shot_without_an_answer_is_an_error(made: Make, ask: Ask) -> None:
    with pytest.raises(VlmbenchError, match="sample s1 has no public answer"):
        ask(made("Who?"), "lmms", "docvqa", shots=[made("What?")])


def test_drawn_shots_depend_on_the_sample_and_the_seed_alone() -> None:
    state = random.getstate()
    first = draw_shots("q1", 34_602, 8, seed=0)
    assert random.getstate() == state
    random.random()
    assert draw_shots("q1", 34_602, 8, seed=0) == first
    assert first == (15547, 19752, 28895, 3654, 940, 9338, 26960, 29531)  # on every Python
    assert draw_shots("q2", 34_602, 8, seed=0) != first != draw_shots("q1", 34_602, 8, seed=1)


def test_drawn_shots_are_distinct_and_reach_the_whole_split_evenly() -> None:
    assert sorted(draw_shots("q", 50, 50, seed=3)) == list(range(50))
    assert draw_shots("q", 0, 0, seed=0) == ()
    drawn = [index for n in range(400) for index in draw_shots(str(n), 10, 4, seed=0)]
    assert all(111 < drawn.count(index) < 209 for index in range(10))  # 160 expected, 5 sigma: 49


@pytest.mark.parametrize("k", [-1, 6])
def test_more_shots_than_the_split_has_is_an_error(k: int) -> None:
    with pytest.raises(VlmbenchError, match=f"{k} shots asked for, of a training split of 5"):
        draw_shots("q", 5, k, seed=0)


@pytest.mark.parametrize("style", STYLES)
def test_blind_shows_no_picture_and_asks_the_same(
    made: Make, ask: Ask, text_of: Text, numbers: Numbers, style: str
) -> None:
    sample, shot = made("Who?"), made("What?", answers=("he",))
    seen = ask(sample, style, "docvqa", shots=[shot])
    blind = ask(sample, style, "docvqa", shots=[shot], blind=True)
    assert numbers(blind) == []
    assert list(map(text_of, blind.messages)) == [
        text_of(message).replace("[1]", "") for message in seen.messages
    ]


def test_ocr_tokens_follow_the_question_in_their_own_case(
    made: Make, ask: Ask, text_of: Text
) -> None:
    sample = made("What does NASA say?", ocr_tokens=("NASA", "Houston"))
    line = "\nReference OCR token: NASA, Houston\n"
    lmms = f"[1]What does nasa say?{line}Answer the question using a single word or phrase."
    paper = f"[1]Question: What does NASA say?{line}Give a very brief answer."
    assert text_of(ask(sample, "lmms", "textvqa", ocr=True).messages[0]) == lmms
    assert text_of(ask(sample, "idefics2", "textvqa", ocr=True).messages[0]) == paper
    assert text_of(ask(sample, "lmms", "textvqa").messages[0]) == lmms.replace(line, "\n")


def test_the_ocr_line_stays_where_a_sample_has_no_tokens_as_in_lmms_eval(
    made: Make, ask: Ask, text_of: Text
) -> None:
    asked = ask(made("Who?"), "lmms", "textvqa", ocr=True)
    assert text_of(asked.messages[0]).startswith("[1]Who?\nReference OCR token: \nAnswer the")


def test_ocr_tokens_of_another_form_are_an_error(made: Make, ask: Ask) -> None:
    with pytest.raises(VlmbenchError, match="variant of the form 'textvqa', not of 'docvqa'"):
        ask(made("Who?"), "lmms", "docvqa", ocr=True)


def test_settings_are_named_by_what_is_not_usual_in_them() -> None:
    assert PromptSettings(style="lmms").name == "lmms"
    assert PromptSettings(style="lmms", style_version=1, ocr=True).name == "lmms+ocr"
    assert PromptSettings(style="idefics2", shots=8, blind=True).name == "idefics2+8-shot+blind"
    assert PromptSettings(style_version=2, pictures="other").name == "idefics2 v2+other-pictures"


def test_a_wrong_style_or_form_is_named_with_what_there_is(made: Make, ask: Ask) -> None:
    with pytest.raises(VlmbenchError, match=r"no prompt style named 'lms'; did you mean lmms\?"):
        ask(made("Who?"), "lms", "docvqa")
    with pytest.raises(VlmbenchError, match=r"no prompt form named 'doc'; did you mean docvqa\?"):
        ask(made("Who?"), "lmms", "doc")
    with pytest.raises(VlmbenchError, match="'idefics2-m4-base' has no form 'mmmu'; it has: short"):
        ask(made("Who?"), "idefics2-m4-base", "mmmu")


@pytest.mark.parametrize("style", STYLES)
def test_a_prompt_never_sees_the_answer(made: Make, ask: Ask, style: str) -> None:
    sample = made(**LETTERED, answers=("SENTINEL", "SENTINEL"), interleaved=True)
    for form in STYLES[style].max_new_tokens:
        asked = ask(sample, style, form)
        assert "SENTINEL" not in repr(asked)
        assert asked == ask(replace(sample, answers=()), style, form)


WORDS = ("<image 1>", "<image 3>", "<image", "A.", "B.", "\nOptions:", "Question:", "(A) ", "{x}")
texts = st.text(max_size=20) | st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


@given(
    style=st.sampled_from(sorted(STYLES)),
    form=st.sampled_from(FORMS),
    blind=st.booleans(),
    fields=st.fixed_dictionaries(
        {
            "question": texts,
            "images": st.integers(0, 3),
            "interleaved": st.booleans(),
            "hint": texts,
            "options": st.dictionaries(st.sampled_from("ABCDEFGHI"), texts, max_size=4),
            "answers": st.lists(texts, min_size=1, max_size=3).map(tuple),
            "ocr_tokens": st.lists(texts, max_size=2).map(tuple),
            "breakdown": st.just({"answer_type": ("integer",)}),
        }
    ),
)
def test_no_text_raises_but_the_name_of_a_missing_image(
    made: Make,
    ask: Ask,
    numbers: Numbers,
    style: str,
    form: str,
    blind: bool,
    fields: dict[str, Any],
) -> None:
    if form not in STYLES[style].max_new_tokens:
        form = "textvqa"
    sample = made(**fields)
    try:
        asked = ask(sample, style, form, shots=[sample], blind=blind, ocr=form == "textvqa")
    except VlmbenchError as error:
        assert sample.interleaved
        assert "the text names <image" in str(error)
    else:
        assert all(message.content for message in asked.messages)
        assert set(numbers(asked)) == (set() if blind else set(sample.images))

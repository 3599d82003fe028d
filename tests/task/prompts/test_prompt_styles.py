"""Each style in each form, to the byte, as Idefics2's chat template shows it to the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.schema import Request, Sample
from vlmbench.task.prompts import FORMS, STYLES

CAT_OR_DOG = {"A": "cat", "B": "dog"}
SAMPLES: dict[str, dict[str, Any]] = {
    "words": {"question": "What does the NASA sign say?"},
    "hint": {"question": "Who ran?", "hint": "A race.", "options": CAT_OR_DOG},
    "college": {
        "question": "See <image 1>. Why?",
        "images": 2,
        "interleaved": True,
        "options": {"A": "<image 2>", "B": "x"},
    },
    "college open": {"question": "See <image 1>. Find x.", "interleaved": True},
    "math": {
        "question": "How long?",
        "options": CAT_OR_DOG,
        "breakdown": {"answer_type": ("text",)},
    },
    "math float": {
        "question": "How long?",
        "breakdown": {"answer_type": ("float",)},
        "facts": {"precision": 2.0, "unit": "m"},
    },
}
ONE_WORD = "Answer the question using a single word or phrase."
DIRECTLY = "Answer with the option's letter from the given choices directly."
PICK = (
    "Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the "
    "end."
)
TWO_PLACES = (
    "Please answer the question requiring a floating-point number with two decimal places and "
    "provide the final value, e.g., 1.23, 1.34, 1.45, at the end."
)
CHOICES = "Choices:\nA. cat\nB. dog\n"
END = "<end_of_utterance>\nAssistant:"

PROMPTS = {
    ("idefics2", "short_answer", "words"): (
        f"User:[1]Question: What does the NASA sign say?\nGive a very brief answer.{END}"
    ),
    ("idefics2", "choice", "hint"): (
        f"User:[1]Question: Who ran?\nHint: A race.\n{CHOICES}Answer with the letter.{END}"
    ),
    ("idefics2", "mmmu", "college"): (
        f"User: Question: See [1]. Why?\nChoices:\nA. [2]\nB. x\nAnswer with the letter.{END}"
    ),
    ("idefics2", "mmmu", "college open"): (
        f"User: Question: See [1]. Find x.\nGive a very brief answer.{END}"
    ),
    ("idefics2", "mathvista", "math"): (
        f"User:[1]Question: How long?\n{CHOICES}Answer with the letter.{END}"
    ),
    ("idefics2", "mathvista", "math float"): (
        f"User:[1]Question: How long? (Unit: m)\nGive a very brief answer.{END}"
    ),
    ("idefics2-m4", "docvqa", "words"): (
        f"User:[1]What does the NASA sign say?\nGive a very brief answer.{END}"
    ),
    ("idefics2-m4", "choice", "hint"): (
        f"User:[1]Question: Who ran?\nHint: A race.\n{CHOICES}Answer with a letter.{END} Answer:"
    ),
    ("idefics2-m4", "mmmu", "college"): (
        "User: <image 1>:[1]\n<image 2>:[2]\nQuestion: See <image 1>. Why?\nChoices:\n"
        f"A. <image 2>\nB. x\nAnswer with the letter.{END} Answer:"
    ),
    ("idefics2-m4", "mmmu", "college open"): (f"User: <image 1>:[1]\nSee <image 1>. Find x.{END}"),
    ("idefics2-m4", "mathvista", "math"): (
        f"User:[1]Question: How long?\n{CHOICES}Answer with the letter.{END} Answer:"
    ),
    ("idefics2-m4", "mathvista", "math float"): f"User:[1]{TWO_PLACES}\nHow long? (Unit: m){END}",
    ("lmms", "short_answer", "words"): f"User:[1]What does the NASA sign say?\n{ONE_WORD}{END}",
    ("lmms", "textvqa", "words"): f"User:[1]What does the nasa sign say?\n{ONE_WORD}{END}",
    ("lmms", "docvqa", "words"): f"User:[1]What does the NASA sign say?\n{ONE_WORD}{END}",
    ("lmms", "choice", "hint"): (
        f"User:[1]A race. Who ran? There are several options:\nA. cat\nB. dog\n\n{DIRECTLY}{END}"
    ),
    ("lmms", "mmmu", "college"): (
        f"User:[1][2]See <image 1>. Why?\nA. <image 2>\nB. x\n\n{DIRECTLY}{END}"
    ),
    ("lmms", "mmmu", "college open"): f"User:[1]See <image 1>. Find x.\n\n{ONE_WORD}{END}",
    ("lmms", "mathvista", "math"): f"User:[1]How long?\nA. cat\nB. dog\n{DIRECTLY}{END}",
    ("lmms", "mathvista", "math float"): (
        "User:[1]How long? (Unit: m)\nAnswer the question using a single floating-point number "
        f"with two decimal places.{END}"
    ),
    ("vlmevalkit", "textvqa", "words"): (
        f"User:[1]What does the NASA sign say?\n{ONE_WORD}\nGive a very brief answer.{END}"
    ),
    ("vlmevalkit", "choice", "hint"): (
        f"User:[1]Question: Who ran?\nHint: A race.\n{CHOICES}Answer with a letter.{END} Answer:"
    ),
    ("vlmevalkit", "mmmu", "college"): (
        "User: Question: <image 1>:[1]\n<image 2>:[2]\nSee <image 1> . Why?\nChoices:\n"
        f"A. <image 2> B. x\nAnswer with the letter.{END} Answer:"
    ),
    ("vlmevalkit", "mmmu", "college open"): (
        f"User: Question: <image 1>:[1]\nSee <image 1> . Find x.{END}"
    ),
    ("vlmevalkit", "mathvista", "math"): (
        f"User:[1]{PICK}\nQuestion: How long?\n{CHOICES}Answer with the letter.{END} Answer:"
    ),
    ("vlmevalkit", "mathvista", "math float"): (
        f"User:[1]{TWO_PLACES}\nQuestion: How long? (Unit: m){END}"
    ),
}
CHAT_STYLES = [name for name, style in STYLES.items() if not style.opening]

Make = Callable[..., Sample]
Ask = Callable[..., Request]


@pytest.mark.parametrize(("style", "form", "name"), PROMPTS, ids=" ".join)
def test_a_prompt_is_its_source_s_to_the_byte(
    made: Make, ask: Ask, model_text: Callable[[Request], str], style: str, form: str, name: str
) -> None:
    sample = made(**SAMPLES[name])
    assert model_text(ask(sample, style, form)) == PROMPTS[style, form, name]


@pytest.mark.parametrize(
    ("form", "name"), [("choice", "hint"), ("mmmu", "college"), ("mathvista", "math")]
)
def test_only_idefics2_m4_ranks_the_letters_on_offer(
    made: Make, ask: Ask, form: str, name: str
) -> None:
    sample = made(**SAMPLES[name])
    ranked = {style: ask(sample, style, form).candidates for style in CHAT_STYLES}
    assert ranked == {"idefics2": (), "idefics2-m4": ("A", "B"), "lmms": (), "vlmevalkit": ()}


def test_a_question_without_options_is_never_ranked(made: Make, ask: Ask) -> None:
    for form, name in (("docvqa", "words"), ("mmmu", "college open"), ("mathvista", "math float")):
        assert ask(made(**SAMPLES[name]), "idefics2-m4", form).candidates == ()


def test_the_length_limits_of_each_style() -> None:
    limits = {name: list(style.max_new_tokens.values()) for name, style in STYLES.items()}
    assert limits == {
        "idefics2": [40] * 6,
        "idefics2-m4": [40] * 6,
        "idefics2-m4-base": [15] * 3,
        "lmms": [16, 1024, 32, 1024, 128, 16_384],
        "vlmevalkit": [1024] * 6,
    }
    assert all(tuple(STYLES[name].max_new_tokens) == FORMS for name in CHAT_STYLES)


def test_the_stop_words_and_bad_words_of_each_style(made: Make, ask: Ask) -> None:
    words = made(**SAMPLES["words"])
    paper, m4 = (ask(words, style, "docvqa") for style in ("idefics2", "idefics2-m4"))
    assert paper.stop == ("Question", "User", "<end_of_utterance>", "<eos>")
    assert paper.bad_words == ()
    assert {"Question", "User", "Image", "task", "What", "How", "<end_of_utterance>"} < set(m4.stop)
    assert m4.bad_words == ("\n", "\n\n", "<image>", "<fake_token_around_image>")
    assert ask(words, "lmms", "textvqa").stop == ("ASSISTANT:",)
    assert ask(words, "lmms", "docvqa").stop == ask(words, "vlmevalkit", "docvqa").stop == ()


def test_vlmevalkit_edits_lettered_text_of_mathvista_wherever_it_stands(
    made: Make, ask: Ask, text_of: Callable[[object], str]
) -> None:
    sample = made("Is (A) or (B) it?", breakdown={"answer_type": ("integer",)})
    asked = ask(sample, "vlmevalkit", "mathvista")
    assert text_of(asked.messages[0]).endswith("Is A. or B. it?\nAnswer with the letter.")
    assert asked.answer_prefix == "Answer:"


@pytest.mark.parametrize("precision", [None, 3.0])
@pytest.mark.parametrize("style", ["idefics2-m4", "lmms", "vlmevalkit"])
def test_an_unknown_answer_type_of_mathvista_is_an_error(
    made: Make, ask: Ask, style: str, precision: float | None
) -> None:
    sample = replace(made(**SAMPLES["math float"]), facts={"precision": precision})
    with pytest.raises(VlmbenchError, match=r"sample s1: .*'float' with precision"):
        ask(sample, style, "mathvista")
    with pytest.raises(VlmbenchError, match=r"sample s1: .*answer type ''"):
        ask(made(**SAMPLES["words"]), style, "mathvista")

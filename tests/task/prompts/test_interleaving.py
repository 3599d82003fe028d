"""Pictures stand where the text names them: repeated, unsorted, in options, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request, Sample
from vlmbench.task.prompts import STYLES

Make = Callable[..., Sample]
Ask = Callable[..., Request]


@pytest.fixture
def interleaved(made: Make) -> Make:
    def make(question: str, *options: str, images: int = 2) -> Sample:
        lettered = dict(zip("ABCDEFGHI", options, strict=False))
        return made(question, images=images, interleaved=True, options=lettered)

    return make


@pytest.mark.parametrize(
    ("texts", "images", "order"),
    [
        pytest.param(["First <image 2> then <image 1>"], 2, [2, 1], id="not sorted"),
        pytest.param(
            ["Compare <image 1> with <image 2>", "<image 1> shows cats", "<image 2> shows dogs"],
            2,
            [1, 2, 1, 2],
            id="in options too",
        ),
        pytest.param(
            ["<image 1> and <image 2>", "<image 1>", "<image 1>", "<image 2>"],
            2,
            [1, 2, 1, 1, 2],
            id="repeated as in validation_Math_19",
        ),
        pytest.param(["Of <image 2>?"], 3, [1, 3, 2], id="unnamed ones first"),
        pytest.param(["<image 10> <image 1>"], 10, [*range(2, 10), 10, 1], id="two digits"),
        pytest.param(["No name"], 2, [1, 2], id="none named"),
    ],
)
def test_pictures_stand_where_the_text_names_them(
    interleaved: Make,
    ask: Ask,
    numbers: Callable[[Request], list[int]],
    texts: list[str],
    images: int,
    order: list[int],
) -> None:
    sample = interleaved(*texts, images=images)
    for style in ("idefics2", "vlmevalkit"):
        assert numbers(ask(sample, style, "mmmu")) == order
    for style in ("idefics2-m4", "lmms"):  # all pictures once, before the text
        assert numbers(ask(sample, style, "mmmu")) == list(range(1, images + 1))


def test_a_picture_in_an_option_keeps_the_option_s_letter_and_text(
    interleaved: Make, ask: Ask, text_of: Callable[[Message], str]
) -> None:
    sample = interleaved("Compare <image 1>, <image 2>", "<image 1> shows cats", "<image 2> dogs")
    assert text_of(ask(sample, "idefics2", "mmmu").messages[0]) == (
        "Question: Compare [1], [2]\nChoices:\nA. [1] shows cats\nB. [2] dogs\n"
        "Answer with the letter."
    )


def test_vlmevalkit_lists_a_repeated_picture_twice_and_keeps_options_after_a_picture(
    interleaved: Make, ask: Ask, text_of: Callable[[Message], str]
) -> None:
    sample = interleaved("Is it <image 1>", "<image 1>", "no", images=1)
    assert text_of(ask(sample, "vlmevalkit", "mmmu").messages[0]) == (
        "Question: <image 1>:[1]\n<image 2>:[1]\nIs it <image 1> Options:\nA. <image 2> B. no\n"
        "Answer with the letter."
    )


@pytest.mark.parametrize("style", [name for name, style in STYLES.items() if not style.opening])
@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("named", ["3", "0", "01", "9" * 5000], ids=["3", "0", "01", "huge"])
def test_naming_an_image_that_is_not_there_is_an_error(
    interleaved: Make, ask: Ask, style: str, blind: bool, named: str
) -> None:
    for sample in (interleaved(f"See <image {named}>"), interleaved("See", f"<image {named}>")):
        with pytest.raises(VlmbenchError, match=f"^sample s1: .*<image {named}>.* are: 1, 2$"):
            ask(sample, style, "mmmu", blind=blind)


def test_image_names_are_words_in_a_sample_that_is_not_interleaved(
    made: Make, ask: Ask, text_of: Callable[[Message], str]
) -> None:
    for blind, picture in ((False, "[1]"), (True, "")):
        asked = ask(made("Of <image 7>?"), "idefics2-m4", "docvqa", blind=blind)
        assert text_of(asked.messages[0]) == f"{picture}Of <image 7>?\nGive a very brief answer."


def test_without_pictures_their_names_go_with_the_space_before(
    interleaved: Make, ask: Ask, text_of: Callable[[Message], str]
) -> None:
    sample = interleaved("First <image 2> then <image 1>, why?", "<image 1>", "as in <image 2>")
    for style in ("idefics2", "idefics2-m4"):
        assert text_of(ask(sample, style, "mmmu", blind=True).messages[0]) == (
            "Question: First then, why?\nChoices:\nA. \nB. as in\nAnswer with the letter."
        )


def test_a_name_that_only_appears_when_another_goes_is_left_as_words(
    interleaved: Make, ask: Ask, text_of: Callable[[Message], str]
) -> None:
    asked = ask(interleaved("See <image 2<image 1>>", images=1), "idefics2", "mmmu", blind=True)
    assert text_of(asked.messages[0]) == "Question: See <image 2>\nGive a very brief answer."

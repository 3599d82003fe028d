"""Builds prompts: a sample, and examples with their answers, become what a model is asked.

Messages hold text and pictures and no chat markup ("User:", "<end_of_utterance>"): that is the
model's own template, which the backend applies. The backend also puts one space before
`answer_prefix` and one before a candidate: "Assistant: Answer: A". A prompt for a base model is one
user message, whose pieces the backend joins with nothing between or around them.

Shots are turns before the question, answered as the style expects. Of the sources only Idefics2's
released code has shots for these tasks; in the other styles they are our choice.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from vlmbench.errors import VlmbenchError, no_such
from vlmbench.schema import Message, Request, Sample
from vlmbench.task.interleaving import Piece, check_named_images, content_of, without_pictures
from vlmbench.task.styles import FORMS, STYLES, Style, Turn, find

__all__ = ["FORMS", "STYLES", "checked", "draw_shots", "gold", "request"]


def request(
    sample: Sample,
    *,
    form: str,
    style: str,
    max_new_tokens: int | None,
    shots: Sequence[Sample] = (),
    blind: bool = False,
    ocr: bool = False,
) -> Request:
    """Builds what a model is asked about `sample`, after `shots` with their answers.

    `max_new_tokens`: None takes the style's. `blind` shows no picture, in the shots either, and
    removes `<image N>` from the text with the space before it. `ocr` adds lmms-eval's line of OCR
    tokens after the question; as in lmms-eval, the line also stands where a sample has none.

    Raises: VlmbenchError for an unknown style or form, a form that the style does not have, `ocr`
    in another form than textvqa, a sample whose text names an image that it does not have, a
    MathVista sample of unknown answer type, and a shot without an answer.
    """
    chosen = checked(style, form, ocr=ocr)

    def write(shown: Sample) -> Turn:
        check_named_images(shown)
        line = f"\nReference OCR token: {', '.join(shown.ocr_tokens)}" if ocr else ""
        return chosen.write(without_pictures(shown) if blind else shown, form, line)

    asked = write(sample)
    answered = [(write(shot), gold(shot, form)) for shot in shots]
    opening = chosen.opening
    return Request(
        id=sample.id,
        image_group=sample.image_group,
        messages=_one_text(opening, answered, asked) if opening else _turns(answered, asked),
        answer_prefix=asked.answer_prefix,
        max_new_tokens=chosen.max_new_tokens[form] if max_new_tokens is None else max_new_tokens,
        stop=chosen.stop.get(form, ()),
        bad_words=chosen.bad_words,
        candidates=asked.candidates,
    )


def draw_shots(sample_id: str, num_train: int, k: int, seed: int) -> tuple[int, ...]:
    """Draws `k` different indices into a training split of `num_train` samples.

    They depend on the arguments alone, and are the same on every version of Python.

    Raises: VlmbenchError where the split has fewer samples.
    Source: Idefics2's base model was shown random examples, drawn anew for each question.
    """
    if not 0 <= k <= num_train:
        raise VlmbenchError(f"{k} shots asked for, of a training split of {num_train} samples")
    # random() keeps its sequence over Python's versions; sample() does not promise to
    uniform = random.Random(f"{seed} {sample_id}").random
    drawn: dict[int, None] = {}
    while len(drawn) < k:
        drawn[int(uniform() * num_train)] = None
    return tuple(drawn)


def gold(sample: Sample, form: str) -> str:
    """The answer to show after an example: the most frequent one, the first of equals.

    For an example with options it is the letter.

    Raises: VlmbenchError for a sample without an answer.
    """
    if not sample.answers:
        raise VlmbenchError(f"sample {sample.id} has no public answer, so it cannot be a shot")
    answer = Counter(sample.answers).most_common(1)[0][0]
    if form == "mathvista":  # its gold answer is the option's text
        return next((letter for letter, text in sample.options.items() if text == answer), answer)
    return answer


def _turns(answered: Iterable[tuple[Turn, str]], asked: Turn) -> tuple[Message, ...]:
    messages: list[Message] = []
    for turn, answer in answered:
        messages.append(Message(role="user", content=turn.content))
        given = " ".join(filter(None, (turn.answer_prefix, answer)))
        messages.append(Message(role="assistant", content=(given,)))
    return (*messages, Message(role="user", content=asked.content))


def _one_text(
    opening: str, answered: Iterable[tuple[Turn, str]], asked: Turn
) -> tuple[Message, ...]:
    pieces: list[Piece] = [opening]
    for turn, answer in answered:
        pieces += (*turn.content, f" {answer}\n")
    return (Message(role="user", content=content_of(*pieces, *asked.content)),)


def checked(name: str, form: str, *, ocr: bool) -> Style:
    """The style of that name, which has a prompt for the form.

    Raises: VlmbenchError for an unknown style or form, a form that the style does not have, and
    `ocr` in another form than textvqa.
    """
    style = find(name)
    if form not in FORMS:
        raise no_such("prompt form", form, FORMS)
    if form not in style.max_new_tokens:
        forms = ", ".join(style.max_new_tokens)
        raise VlmbenchError(f"prompt style {name!r} has no form {form!r}; it has: {forms}")
    if ocr and form != "textvqa":
        raise VlmbenchError(f"OCR tokens are a variant of the form 'textvqa', not of {form!r}")
    return style

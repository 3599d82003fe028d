"""The wordings of the prompt styles: a function a style, to be read beside its source.

Each takes a sample, a form, and the line of OCR tokens (empty: none). In every style a picture that
no `<image N>` names comes first: the harnesses drop some of these, here none is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vlmbench.errors import VlmbenchError
from vlmbench.schema import Picture, Sample
from vlmbench.task.interleaving import Piece, content_of, in_place, labelled, pictures_of

SHORT_ANSWER_FORMS = ("short_answer", "textvqa", "docvqa")
FORMS = (*SHORT_ANSWER_FORMS, "choice", "mmmu", "mathvista")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question as a style words it, and how its answer is to be given."""

    content: tuple[Piece, ...]
    answer_prefix: str = ""
    candidates: tuple[str, ...] = ()


def idefics2(sample: Sample, form: str, ocr: str) -> Turn:
    """The two prompts of the paper's A.3.1, with pictures where `<image N>` stands.

    Our choices where the paper is silent: MMBench's hint stands as in the released code; MMMU's and
    MathVista's questions without options take the open-ended prompt.
    """
    question = f"Question: {_question(sample, form)}{ocr}\n"
    if form in SHORT_ANSWER_FORMS or not sample.options:
        text = f"{question}Give a very brief answer."
    else:
        text = f"{question}{_hint(sample)}Choices:\n{_options(sample)}Answer with the letter."
    return Turn(content=content_of(*in_place(sample, text)))


def idefics2_m4(sample: Sample, form: str, ocr: str) -> Turn:
    """The chat prompts of the authors' evaluation code; choices are ranked, not generated.

    MMMU's pictures are listed under their names, and the text keeps `<image N>`. The source ranks
    all letters of the benchmark, A to D, I or H; we rank those that the question offers.
    """
    if form in SHORT_ANSWER_FORMS:
        text = f"{sample.question}{ocr}\nGive a very brief answer."
    elif sample.options:
        letter = "a letter" if form == "choice" else "the letter"
        question = f"Question: {_question(sample, form)}\n{_hint(sample)}"
        text = f"{question}Choices:\n{_options(sample)}Answer with {letter}."
    elif form == "mathvista":
        text = f"{_mathvista_wording(sample)[0]}\n{_question(sample, form)}"
    else:
        text = sample.question
    named = labelled(sorted(sample.images.items())) if sample.interleaved else pictures_of(sample)
    content = content_of(*named, text)
    if form in SHORT_ANSWER_FORMS or not sample.options:
        return Turn(content=content)
    return Turn(content=content, answer_prefix="Answer:", candidates=tuple(sample.options))


def idefics2_m4_base(sample: Sample, form: str, ocr: str) -> Turn:
    """Template 9 of the authors' evaluation code, with which the paper's 8-shot table was made."""
    text = f"Question: {sample.question}{ocr} Answer:"
    return Turn(content=content_of("Image:", *pictures_of(sample), text))


_ONE_WORD = "\nAnswer the question using a single word or phrase."
_LETTER = "Answer with the option's letter from the given choices directly."


def lmms(sample: Sample, form: str, ocr: str) -> Turn:
    """The prompts of lmms-eval's "simple" models: all pictures first, `<image N>` stays as text.

    English MMBench; MMMU as on validation (its test task leaves the last line out); MathVista as in
    `mathvista_testmini_format`, the variant without reasoning.
    """
    question = _question(sample, form)
    if form == "textvqa":
        text = f"{question.capitalize()}{ocr}{_ONE_WORD}"  # lower-cases the rest, as lmms-eval does
    elif form in SHORT_ANSWER_FORMS:
        text = f"{question}{_ONE_WORD}"
    elif form == "choice":
        options = f"There are several options:\n{_options(sample)}".rstrip("\n")
        hint = f"{sample.hint} " if sample.hint else ""
        text = f"{hint}{question} {options}\n\n{_LETTER}"
    elif form == "mathvista":
        text = f"{question}\n{_options(sample)}{_mathvista_wording(sample)[1]}".strip()
    elif sample.options:
        text = f"{question}\n{_options(sample)}\n{_LETTER}"
    else:
        text = f"{question}\n{_ONE_WORD}"
    return _pictures_first(sample, text)


_SELECT = "Please select the correct answer from the options above."


def vlmevalkit(sample: Sample, form: str, ocr: str) -> Turn:
    """VLMEvalKit's prompts after its class for Idefics2 has edited them.

    It has no VQAv2, which is asked as TextVQA, and edits MMBench 1.0 only; here 1.1 is edited too.
    """
    if form == "mmmu":
        return _vlmevalkit_mmmu(sample)
    if form in SHORT_ANSWER_FORMS:
        text = f"{sample.question}{ocr}{_ONE_WORD}".strip()
        return _pictures_first(sample, f"{text}\nGive a very brief answer.")
    if form == "choice":
        question = f"Question: {sample.question}\n{_hint(sample)}"
        text = f"{question}Choices:\n{_options(sample)}Answer with a letter."
        return _pictures_first(sample, text, answer_prefix="Answer:")
    text = f"Hint: {_mathvista_wording(sample)[0]}\nQuestion: {_question(sample, form)}"
    if sample.options:
        text += "\nChoices:"
    text += "".join(f"\n({letter}) {option}" for letter, option in sample.options.items())
    text = re.sub(r"\(([A-H])\) ", r"\1. ", text.strip())  # in the question too
    text = text.replace("\nOptions:", "\nChoices:").replace("Hint: ", "").strip()
    if _looks_like_choice(text):
        return _pictures_first(sample, f"{text}\nAnswer with the letter.", answer_prefix="Answer:")
    return _pictures_first(sample, text)


def _vlmevalkit_mmmu(sample: Sample) -> Turn:
    """Pictures are listed in the order of their places, then named " <image 1> " at each place.

    A picture with two places is listed twice. Each stretch of text is edited by itself, so that
    "Options:" stays where a picture stands just before it.
    """
    text = f"Question: {sample.question}\n"
    if sample.options:
        text += f"Options:\n{_options(sample)}{_SELECT} \n"
    written: list[str] = []
    shown: list[Picture] = []
    for piece in in_place(sample, text):
        if isinstance(piece, str):
            edited = piece.strip().replace("Question:", "").replace("\nOptions:", "\nChoices:")
            written.append(edited.replace(_SELECT, "Answer with the letter.").strip())
        else:
            shown.append(piece)
            written.append(f" <image {len(shown)}> ")
    content = content_of("Question: ", *labelled(enumerate(shown, 1)), *written)
    is_choice = _looks_like_choice("".join(piece for piece in content if isinstance(piece, str)))
    return Turn(content=content, answer_prefix="Answer:" if is_choice else "")


def _looks_like_choice(text: str) -> bool:
    return "A." in text and "B." in text  # VLMEvalKit's own test


def _pictures_first(sample: Sample, text: str, answer_prefix: str = "") -> Turn:
    return Turn(content=content_of(*pictures_of(sample), text), answer_prefix=answer_prefix)


_MATHVISTA_WORDINGS: Mapping[tuple[str, object], tuple[str, str]] = {
    ("text", None): (
        "Please answer the question and provide the correct option letter, e.g., A, B, C, D, "
        "at the end.",
        _LETTER,
    ),
    ("integer", None): (
        "Please answer the question requiring an integer answer and provide the final value, "
        "e.g., 1, 2, 3, at the end.",
        "Answer the question using a single integer number.",
    ),
    ("float", 1): (
        "Please answer the question requiring a floating-point number with one decimal place and "
        "provide the final value, e.g., 1.2, 1.3, 1.4, at the end.",
        "Answer the question using a single floating-point number with one decimal place.",
    ),
    ("float", 2): (
        "Please answer the question requiring a floating-point number with two decimal places and "
        "provide the final value, e.g., 1.23, 1.34, 1.45, at the end.",
        "Answer the question using a single floating-point number with two decimal places.",
    ),
    ("list", None): (
        "Please answer the question requiring a Python list as an answer and provide the final "
        "list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
        "Answer the question using a Python list.",
    ),
}
"""Benchmark's and lmms-eval's instruction by answer type and, for a float, decimal places."""


def _mathvista_wording(sample: Sample) -> tuple[str, str]:
    kind = "text" if sample.options else "".join(sample.breakdown.get("answer_type", ()))
    places = sample.facts.get("precision") if kind == "float" else None
    if (kind, places) not in _MATHVISTA_WORDINGS:
        raise VlmbenchError(
            f"sample {sample.id}: MathVista does not ask for the answer type {kind!r}"
            + (f" with precision {places}" if kind == "float" else "")
        )
    return _MATHVISTA_WORDINGS[kind, places]


def _question(sample: Sample, form: str) -> str:
    unit = sample.facts.get("unit") if form == "mathvista" else None
    return f"{sample.question} (Unit: {unit})" if unit else sample.question


def _hint(sample: Sample) -> str:
    return f"Hint: {sample.hint}\n" if sample.hint else ""


def _options(sample: Sample) -> str:
    return "".join(f"{letter}. {text}\n" for letter, text in sample.options.items())

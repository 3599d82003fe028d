"""Prompt styles: how a paper, its released code and two harnesses word each kind of question.

A style is one wording, a function of `wordings`, with its limits and its version. A task names a
form, the kind of question that the styles tell apart:

    short_answer  VQAv2, and a task of one's own with short answers
    textvqa       short answers; lmms changes the question's case, and OCR tokens can be given
    docvqa        short answers
    choice        MMBench, and a task of one's own with lettered options
    mmmu          lettered options or an open question
    mathvista     lettered options, or a number or list that is asked for by its type
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vlmbench.errors import no_such
from vlmbench.schema import FinalAnswer, Sample
from vlmbench.task import wordings
from vlmbench.task.wordings import FORMS, SHORT_ANSWER_FORMS, Turn

__all__ = ["FORMS", "STYLES", "Style", "Turn", "find", "versioned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One wording of the questions of all forms, with its limits."""

    name: str
    version: int
    """Rises with any change of what is asked: runs of two versions are never mixed."""

    source: str
    """Origin of the wording."""

    write: Callable[[Sample, str, str], Turn]
    """Words the question of a sample, a form, and the line of OCR tokens (empty: none)."""

    max_new_tokens: Mapping[str, int]
    """Longest answer by form; the style has no prompt for a form that is not here."""

    stop: Mapping[str, tuple[str, ...]]
    """Texts that end an answer, by form."""

    bad_words: tuple[str, ...] = ()
    """Texts that must not be generated."""

    final_answer: FinalAnswer = "none"
    """How responses are read before they are scored, where a run does not say."""

    opening: str = ""
    """Start of a base model's prompt, which is one user message; empty: a chat."""


def find(name: str) -> Style:
    """The style of that name. Raises: VlmbenchError where there is none."""
    if name not in STYLES:
        raise no_such("prompt style", name, STYLES)
    return STYLES[name]


def versioned(name: str, version: int | None) -> str:
    """A style's name for a board or a figure, with the version where it is not the first."""
    return name if version in (None, 1) else f"{name} v{version}"


# Joined into one regular expression by the source, in which <|im_end|> is "<" or "im_end" or ">"
_M4_STOP = (
    *("Question", "User", "Image", "task", "What", "Who", "When", "Where", "Why", "How"),
    *("<end_of_utterance>", "<", "im_end", ">", "<row_", "row_1", "\u2500lrow_", "apiro"),
)
_M4_BAD_WORDS = ("\n", "\n\n", "<image>", "<fake_token_around_image>")
_M4_SOURCE = "github.com/huggingface/smollm, vision/m4 and its data scripts"

STYLES: Mapping[str, Style] = {
    style.name: style
    for style in (
        Style(
            name="idefics2",
            version=1,
            source="Laurencon et al., 2024 (arXiv:2405.02246), A.3.1",
            write=wordings.idefics2,
            max_new_tokens=dict.fromkeys(FORMS, 40),  # our choice: the paper states none
            stop=dict.fromkeys(FORMS, ("Question", "User", "<end_of_utterance>", "<eos>")),
        ),
        Style(
            name="idefics2-m4",
            version=1,
            source=_M4_SOURCE,
            write=wordings.idefics2_m4,
            max_new_tokens=dict.fromkeys(FORMS, 40),  # of its later scripts; its default is 15
            stop=dict.fromkeys(FORMS, _M4_STOP),
            bad_words=_M4_BAD_WORDS,
        ),
        Style(
            name="idefics2-m4-base",
            version=1,
            source=_M4_SOURCE,
            write=wordings.idefics2_m4_base,
            max_new_tokens=dict.fromkeys(SHORT_ANSWER_FORMS, 15),  # its default
            stop=dict.fromkeys(SHORT_ANSWER_FORMS, _M4_STOP),
            bad_words=_M4_BAD_WORDS,
            opening="Instruction: provide an answer to the question. Use the image to answer.\n",
        ),
        Style(
            name="lmms",
            version=1,
            source="lmms-eval 0.7.3, lmms_eval/tasks",
            write=wordings.lmms,
            max_new_tokens={
                "short_answer": 16,
                "textvqa": 1024,  # none set: the default of its model classes
                "docvqa": 32,
                "choice": 1024,
                "mmmu": 128,  # validation; 512 for test
                "mathvista": 16_384,
            },
            # elsewhere its default, a blank line, which its model classes do not apply
            stop={"textvqa": ("ASSISTANT:",), "choice": ("ASSISTANT:",)},
        ),
        Style(
            name="vlmevalkit",
            version=1,
            source="VLMEvalKit, vlmeval/vlm/idefics.py, IDEFICS2",
            write=wordings.vlmevalkit,
            max_new_tokens=dict.fromkeys(FORMS, 1024),
            stop={},
        ),
    )
}

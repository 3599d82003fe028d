"""Boxes, and lines that state the final answer."""

from __future__ import annotations

import re

from vlmbench.metrics.final_answer.decoration import bare, braced

# the backslash may be doubled, or lost with the b to an escape of JSON or Python
_BOX = re.compile(r"(?:\\{1,2}(?:f?boxed|fbox)|\x08oxed|(?<![\w\\])boxed) ?\{")
_MAX_BOXES = 20
_MAX_STATED = 300
_MAX_CUES = 50
_MAX_NEXT_LINE = 40
_ECHO = re.compile(r"\n[ \t]*(?:Question|Hint|Choices)[ \t]*:")

_TO_WHAT = r"(?: (?:to|for|of|in|here)\b[^.:\n*]{0,80}?)?"
_VERB = (
    r"(?:\*{0,2}[ \t]*(?:\bis\b|\bwould be\b|\bshould be\b|\bmust be\b|[:\uff1a=]|->|\u2192|\u21d2"
    r"|[ \t][-\u2013\u2014][ \t])"
    r"(?:[ \t]*(?:therefore|thus|hence|clearly)\b,?)?[ \t]*[:\uff1a]?\*{0,2})"
)
_STRONG = (
    rf"\b(?:the |my )?(?:final|definitive)[ \t]+answer{_TO_WHAT}(?:{_VERB}|\**[ \t]*\n)"
    rf"|^[ \t#*]*(?:the |my )?final[ \t]+(?:value|result|choice){_TO_WHAT}(?:{_VERB}|\**[ \t]*\n)"
    r"|\bfinal[ \t]+(?:value|result|choice)[ \t]+is\b[ \t]*:?"
    r"|(?:最终|最終|最后|最後)(?:的)?(?:答案|结果|結果|回答)(?:是|为|為|就是|应为|は)?"
    r"[ \t]*[:\uff1a]?"
    r"|^[ \t]*####[ \t]*(?=[-\d])"
)
_WEAK = (
    r"\b(?:the |my |so |correct |right |best |short ){0,4}answer(?: choice| option| letter)?"
    rf"{_TO_WHAT}{_VERB}"
    r"|^[ \t#*]*(?:the |correct )?answer[ \t*:\uff1a]*\n"
    rf"|\b(?:the )?(?:correct|right|best) (?:option|choice|value|result){_TO_WHAT}{_VERB}"
    r"|^[ \t*]*ans(?:wer)?[.:][ \t*]*"
    r"|(?:正确|正確)?(?:答案|答え|正解|解答|回答)(?:应该|应當|应)?(?:是|为|為|就是|应为|は)?"
    r"[ \t]*[:\uff1a]?\**"
    r"|정답[은:\uff1a]?[ \t]*|(?:^|\n)[ \t]*답[은:\uff1a][ \t]*"
    r"|\bla respuesta(?: correcta| final)?(?: es|:)|\b(?:la )?réponse(?: correcte| finale)?"
    r"(?: est|[ \t]?:)|\b(?:die )?antwort(?: ist|:)|\b\u043e\u0442\u0432\u0435\u0442[:\s]"
)
_CUE = re.compile(rf"(?P<strong>{_STRONG})|(?P<weak>{_WEAK})", re.IGNORECASE | re.MULTILINE)
_NO_ANSWER = re.compile(
    r"[ \t]*(?:not\b|n't\b|unclear|unknown|that\b|as follows|given by|based on|in the\b"
    r"|one of\b|either\b|your\b|[.,;)?]|不)",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(r"\b(?:if|whether|suppose|otherwise)\b[^.\n]{0,100}\Z", re.IGNORECASE)
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|St|No|vs|Inc|Ltd|Co|Corp|Jr|Sr|Mt|Ave|Bros|etc|approx)"
    r"|\.[A-Za-z])\Z",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!]\s+(?=[A-Z\"'*(])|\u3002")
_BULLET = re.compile(r"\A[-*\u2022][ \t]+(?=[^\s\d])")
_POLITE = re.compile(r"(?:です|である|입니다|이다|です。)\Z")


def before_echo(response: str) -> str:
    r"""The part before the model repeats the prompt or asks itself another question.

    "The answer is 3.\n\nQuestion: How many ..." is cut before "Question".
    """
    echo = _ECHO.search(response)
    answer = response[: echo.start()] if echo else ""
    return answer if answer.strip() else response


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, without LaTeX around a text in it; else None.

    A box that is cut off before it closes is none.
    """
    for box in reversed(list(_BOX.finditer(text))[-_MAX_BOXES:]):
        content = braced(text, box.end())
        if content is not None and content.strip():
            return bare(content)
    return None


def stated(text: str) -> str | None:
    """What follows the last "final answer", or else the last "answer is" or "Answer:"; else None.

    Its line, or the first one after it; of a sentence, what stands before the period.
    """
    cues = list(_CUE.finditer(text))[-_MAX_CUES:]
    for group in ("strong", "weak"):
        for cue in reversed(cues):
            if cue[group] is not None:
                found = _stated_after(text, cue)
                if found:
                    return found
    return None


def _stated_after(text: str, cue: re.Match[str]) -> str | None:
    begin = max(0, cue.start() - 120)
    if _SUPPOSES.search(text, begin, cue.start()):
        return None
    tail = text[cue.end() : cue.end() + 4 * _MAX_STATED]
    line, _, rest = tail.lstrip(" \t").partition("\n")
    if not line.strip(" \t*:_#\uff1a"):
        line = next((one for one in rest.split("\n") if one.strip(" \t*_#-:")), "")
        if len(line) > _MAX_NEXT_LINE and not _begins_line(text, cue.start()):
            return None  # "Here is my answer:", and then the reasoning
    line = _BULLET.sub("", line.strip())
    if not line or len(line) > _MAX_STATED or _NO_ANSWER.match(line) or line.endswith("?"):
        return None
    return bare(_unclosed(bare(sentence(_unclosed(line))))) or None


def _begins_line(text: str, place: int) -> bool:
    return not text[text.rfind("\n", 0, place) + 1 : place].strip(" \t#*_")


def sentence(line: str) -> str:
    """The first sentence of a line, without its period; "p.m." and "Mr." end none."""
    for end in _SENTENCE_END.finditer(line):
        if not _ABBREVIATION.search(line, max(0, end.start() - 8), end.start()):
            line = line[: end.start()]
            break
    stripped = line.rstrip()
    ends = stripped.endswith((".", "\u3002", "\uff0e")) and not stripped.endswith("..")
    if ends and not _ABBREVIATION.search(stripped, max(0, len(stripped) - 9), len(stripped) - 1):
        stripped = stripped[:-1]
    return _POLITE.sub("", stripped).rstrip()


def _unclosed(line: str) -> str:
    """The line without bold that opened before it, or closes after it: "**Answer: 7**"."""
    for mark in ("**", "__"):
        if line.count(mark) % 2:
            line = line.removeprefix(mark) if line.startswith(mark) else line.removesuffix(mark)
            line = line.replace(f"{mark}.", ".", 1) if line.count(mark) % 2 else line
    return line.strip()

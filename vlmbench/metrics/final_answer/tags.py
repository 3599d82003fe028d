"""Thought, answer tags and special tokens, in the spellings of the models that write them."""

from __future__ import annotations

import re
from typing import NamedTuple

_THOUGHTS = (
    r"(?:[a-z]{1,12}[:_-])?think(?:ing)?(?:_[a-z]{1,12})?|thoughts?|thought_process|analysis"
    r"|reason(?:ing)?|reflection|scratchpad|rationale|inner[_ ]monologue|cot"
    r"|(?-i:SUMMARY|CAPTION)"  # LLaVA-CoT's; in lower case they are HTML's
)
_SURE_ANSWERS = r"(?:final[_ -]?)?answer|conclusion"
_OTHER_ANSWERS = r"final|solution|result|response|output"
_TAG = re.compile(
    rf"<(?P<close>[/\\]?)\s?(?:(?P<thought>{_THOUGHTS})|(?P<sure>{_SURE_ANSWERS})"
    rf"|(?P<other>{_OTHER_ANSWERS}))(?:\s[^<>\n]{{0,100}})?>"
    r"|\u25c1(?P<kimi>/?)think\u25b7"
    r"|\[(?P<mistral>/?)THINK\]"
    r"|<\|(?P<part>begin|start|end)_(?:of_)?"
    r"(?:(?P<token_thought>thought|think(?:ing)?)|(?P<token_sure>box|answer)"
    r"|(?P<token_other>solution|response))\|>"
    r"|<unused(?P<gemma>9[45])>(?:thought\n)?"
    r"|(?P<channel><\|channel>(?:thought|analysis)?|<channel\|>)",
    re.IGNORECASE,
)
_ESCAPED = re.compile(r"&lt;([/\\]?[a-z_|]{1,30})&gt;", re.IGNORECASE)
_FULL_WIDTH = re.compile(r"\uff1c([/\\]?[A-Za-z_]{1,30})\uff1e")

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]{0,100}<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|start|call|channel)\|>")
_SPOKEN_CHANNELS = (  # gpt-oss without its special tokens, and Granite
    ("analysis", re.compile(r"assistant\s?final")),
    ("Here is my thought process:", re.compile(r"\bHere(?:'s| is) my response:")),
)

_END = re.compile(
    r"<\|(?:im_end|endoftext|end_of_text|eot_id|eom_id|end|return|endofturn)\|>|</s>"
    r"|<end_of_utterance>|<end_of_turn>|<eos>|<\uff5cend\u2581of\u2581sentence\uff5c>|\[EOS\]"
)
_TOKEN = re.compile(
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>)\s*"
    r"(?:assistant|model)\b\s*(?:<\|end_header_id\|>)?"
    rf"|{_END.pattern}|<\|[a-zA-Z0-9_]{{1,40}}\|>|<\uff5c[^<>\uff5c\n]{{1,40}}\uff5c>"
    r"|<(?:s|bos|pad|unk|image|start_of_turn|fake_token_around_image|row_\d+_col_\d+)>|\[/?INST\]"
)
_NEWLINE = "<0x0A>"
_MARKS = ("<", "\u25c1", "[", "\uff1c", "&lt;")
"""Without one of these a response has no tag."""

_MAX_STRAY = 100
"""What a lone closing tag ends is thought if it is longer, even where nothing follows."""


class _Tag(NamedTuple):
    start: int
    end: int
    kind: str
    """ "thought", "sure" (an answer's, also where it is not closed) or "other"."""

    closes: bool


def untagged(response: str) -> tuple[str, tuple[str, ...]]:
    """The response without thought, tags, special tokens and outer blanks, and what was found.

    The text is empty where the response has no final answer. Linear in the response's length.
    """
    how: list[str] = []
    text = _spoken_channel(response.strip(), how)
    if any(mark in text for mark in _MARKS):
        if "&lt;" in text:
            text = _ESCAPED.sub(r"<\1>", text)
        if "\uff1c" in text:
            text = _FULL_WIDTH.sub(r"<\1>", text)
        text = _final_channel(text, how)
        text = _outside_thought(text, how)
        text = _without_tokens(text, how)
    return text.strip(), tuple(dict.fromkeys(how))


def without_thought(response: str) -> str:
    """The response without thought, of which it may be all; answer tags and tokens stay."""
    if not any(mark in response for mark in _MARKS):
        return response
    return _parted(_final_channel(response, []), [])[0]


def _spoken_channel(text: str, how: list[str]) -> str:
    for opening, final in _SPOKEN_CHANNELS:
        if text.startswith(opening):
            *_, last = [None, *final.finditer(text)]
            if last:
                how.append("channel")
                return text[last.end() :]
    return text


def _final_channel(text: str, how: list[str]) -> str:
    """The content of the final channel (gpt-oss); empty where the response ends before it."""
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    how.append("channel")
    finals = [channel for channel in channels if channel[1] == "final"]
    if not finals:
        return ""
    end = _CHANNEL_END.search(text, finals[-1].end())
    return text[finals[-1].end() : end.start() if end else len(text)]


def _outside_thought(text: str, how: list[str]) -> str:
    """What stands outside thought, of answer tags the content.

    Where nothing is left, an answer tag within the thought counts.
    """
    said, thought = _parted(text, how)
    if not _TOKEN.sub("", said).strip():
        return _answer(said + thought, how, only_sure=True) or ""
    answer = _answer(said, how)
    return said if answer is None else answer


def _parted(text: str, how: list[str]) -> tuple[str, str]:
    """What stands outside thought, after the last one if anything does, and what inside.

    A thought ends at the first closing tag, and a closing tag without an opening one makes all
    before it thought. An opening tag within a line that nothing closes is spoken of.
    """
    outside: list[str] = []
    inside: list[str] = []
    place, is_open = 0, False
    tags = [tag for tag in _tags(text) if tag.kind == "thought"]
    last_close = max((tag.start for tag in tags if tag.closes), default=-1)
    for tag in tags:
        before = text[place : tag.start]
        if tag.closes:
            how.append("thought" if is_open else "lone closing tag")
            if is_open:
                inside.append(before)
            elif tag.end == len(text) and not outside and len(before) <= _MAX_STRAY:
                outside.append(before)
            else:
                inside += [*outside, before]
                outside.clear()
            place, is_open = tag.end, False
        elif not is_open and (last_close > tag.start or inside or _begins_line(text, tag.start)):
            outside.append(before)
            place, is_open = tag.end, True
    if is_open:
        how.append("open thought")
    (inside if is_open else outside).append(text[place:])
    said = next((piece for piece in reversed(outside) if piece.strip()), "")
    return said, "".join(inside)


def _answer(text: str, how: list[str], *, only_sure: bool = False) -> str | None:
    """The content of the last answer tag that has one; None: no tag."""
    found: str | None = None
    opening: _Tag | None = None
    for tag in _tags(text):
        if tag.kind == "thought" or (only_sure and tag.kind != "sure"):
            continue
        if not tag.closes:
            opening = tag
        elif opening:
            found = _content(text[opening.end : tag.start]) or found
            opening = None
        elif found is None and tag.kind == "sure":  # the prompt has opened it
            found = _content(text[: tag.start])
    if opening and opening.kind == "sure":
        found = _content(text[opening.end :]) or found
    if found is not None:
        how.append("answer tag")
    return found


def _content(text: str) -> str | None:
    return text if text.strip() not in ("", "...", "\u2026") else None


def _tags(text: str) -> list[_Tag]:
    return [_tag(match) for match in _TAG.finditer(text)]


def _tag(match: re.Match[str]) -> _Tag:
    kind, closes = "thought", False
    if match["part"]:
        closes = match["part"].lower() == "end"
        kind = "sure" if match["token_sure"] else "other" if match["token_other"] else kind
    elif match["kimi"] is not None or match["mistral"] is not None:
        closes = bool(match["kimi"] or match["mistral"])
    elif match["gemma"]:
        closes = match["gemma"] == "95"
    elif match["channel"]:
        closes = match["channel"].startswith("<c")
    else:
        closes = bool(match["close"])
        kind = "sure" if match["sure"] else "other" if match["other"] else kind
    return _Tag(match.start(), match.end(), kind, closes)


def _begins_line(text: str, place: int) -> bool:
    """True if only blanks or a tag stand before it: else a tag is spoken of, or closed later."""
    while place and text[place - 1] in " \t":
        place -= 1
    return place == 0 or text[place - 1] in "\n>\u25b7]"


def _without_tokens(text: str, how: list[str]) -> str:
    """The text until the model's turn ends, without special tokens."""
    for end in _END.finditer(text):
        if _TOKEN.sub("", text[: end.start()]).strip():
            how.append("special token")
            text = text[: end.start()]
            break
    plain = _TOKEN.sub("", text.replace(_NEWLINE, "\n"))
    if plain != text:
        how.append("special token")
    return plain

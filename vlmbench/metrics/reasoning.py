"""Reasoning as two harnesses take it out of a response before they score it.

lmms-eval 0.7.3 does so by default, in every task; VLMEvalKit only where SPLIT_THINK is set.
"""

from __future__ import annotations

from collections.abc import Sequence

Tags = tuple[str, str]
"""An opening and a closing tag."""

LMMS_TAGS: tuple[Tags, ...] = (("<think>", "</think>"), ("<analysis>", "</analysis>"))
"""lmms-eval's default of `--reasoning_tags`; a task of its may have others, or none."""

_END = "</think>"


def lmms_stripped(response: str, tags: Sequence[Tags] = LMMS_TAGS) -> str:
    """The response without what tags enclose or a lone closing one ends, and outer blanks.

    Tags are taken literally, letter case included; an opening tag that is never closed stays, with
    all that follows it. Without `tags` nothing changes.

    Source: lmms-eval 0.7.3, api/reasoning.py and `--reasoning_tags` of __main__.py.
    """
    if not tags:
        return response
    for opening, closing in tags:
        response = _without(response, opening, closing)
        if closing in response and opening not in response:
            response = response.rpartition(closing)[2]
    return response.strip()


def _without(text: str, opening: str, closing: str) -> str:
    """Each opening tag goes with all up to the next closing one, until there is no such pair."""
    while True:
        kept, place = [], 0
        while (start := text.find(opening, place)) >= 0:
            end = text.find(closing, start)
            if end < 0:
                break
            kept.append(text[place:start])
            place = end + len(closing)
        if not place:
            return text
        text = "".join(kept) + text[place:]


def vlmevalkit_split(response: str) -> str:
    """What follows the last `</think>`, without outer blanks; without that tag, the response.

    Source: VLMEvalKit e8e78f0, vlmeval/inference.py, `split_thinking`.
    """
    return response.rpartition(_END)[2].strip() if _END in response else response

"""What a server refuses to be told, learnt from its errors: left out from then on, or renamed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LIMITS = ("max_tokens", "max_completion_tokens")
"""The two names for the most new tokens; a limit is renamed and never left out."""

LEFT_OUT = ("stream_options", "stream", "temperature", "seed")
"""Fields without which a request asks the same, or as nearly the same as the server can."""

REFUSES = re.compile(
    r"unsupported|support|permitted|allowed|accepted|unrecogni[sz]ed|unknown|unexpected|extra|"
    r"invalid|must|only|deprecated|instead|cannot|can't|positive|greater|not valid",
    re.I,
)
"""Words of an error that is about a field, and not about what the user asked in it."""

TOO_LARGE = re.compile(r"too (?:large|long|many|big|high)|context|at most|exceed|less than", re.I)
"""Words of an error that is about how many tokens were asked for."""


class Terms:
    """The fields of a request as one server takes them."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self.renamed: dict[str, str] = {}

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields to send."""
        unstreamed = ("stream_options",) if "stream" in self.left_out else ()
        return {
            self.renamed.get(name, name): value
            for name, value in fields.items()
            if name not in self.left_out and name not in unstreamed
        }

    def learn(self, refusal: object, sent: Mapping[str, Any]) -> str:
        """The field of `sent` that the refusal is about and that can be sent otherwise; or empty.

        `refusal`: the document or text of a reply 400 or 422. A temperature or seed that was asked
        for, rather than being the default, is the user's to change.
        """
        name = _named(refusal, sent)
        if name in LIMITS:
            (other,) = set(LIMITS) - {name}
            if other in self.renamed:  # refused by both names
                return ""
            self.renamed[name] = other
        elif name == "temperature" and sent[name] != 0:
            return ""
        elif name and name not in self.left_out:  # requests in flight are refused alike
            self.left_out.append(name)
        return name


def _named(refusal: object, sent: Mapping[str, Any]) -> str:
    """The flexible field that an error is about."""
    fields = [name for name in (*LIMITS, *LEFT_OUT) if name in sent]
    text = _words(refusal)
    if not REFUSES.search(text):
        return ""
    parameter = _parameter(refusal)
    if parameter in fields:
        found = parameter
    else:
        places = {name: place for name in fields if (place := _place(name, text)) >= 0}
        found = min(places, key=places.__getitem__, default="")
    return "" if found in LIMITS and TOO_LARGE.search(text) else found


def _place(name: str, text: str) -> int:
    word = r"\bstream(?:ing|ed|s)?\b" if name == "stream" else rf"(?<![\w.]){name}(?!\w)"
    found = re.search(word, text, re.I)
    return found.start() if found else -1


def _parameter(refusal: object) -> str:
    error = refusal.get("error") if isinstance(refusal, Mapping) else None
    return str(error.get("param")) if isinstance(error, Mapping) else ""


def _words(refusal: object) -> str:
    """All texts of an error but those that repeat what was sent."""
    if isinstance(refusal, Mapping):
        return " ".join(_words(value) for key, value in refusal.items() if key != "input")
    if isinstance(refusal, list):
        return " ".join(map(_words, refusal))
    return str(refusal)

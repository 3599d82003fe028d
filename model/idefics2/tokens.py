"""Text to token ids and back, by the checkpoint's own `tokenizer.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tokenizers import Tokenizer

from idefics2.config_format import read, version_of

Compat = Literal["release", "transformers>=5"]
"""The version whose token ids to give: the release of Idefics2 (4.40), or transformers 5.

Two things changed: Idefics2Processor puts a space after an image that a word follows immediately,
and LlamaTokenizer no longer does what `tokenizer.json` says about word starts, but marks the first
word of the prompt only. Where `tokenizer.json` marks the first word after every special token, the
two cancel out, but for the "\\n" after <end_of_utterance>.
"""

Piece = str | int
"""Text, or the id of a special token."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer in which text is never a special token: those are given by their ids."""

    opening: Tokenizer
    """Encodes text at the start of the prompt."""
    following: Tokenizer
    """Encodes text that comes after a special token."""
    special: dict[str, int]
    """The special tokens by their text."""
    bos_ids: tuple[int, ...]
    """Ids with which every prompt starts."""

    @classmethod
    def load(cls, folder: Path, *, compat: Compat = "release") -> Tokens:
        """The tokenizer of a folder's `tokenizer.json` and `tokenizer_config.json`.

        Raises: ValueError if one is missing or broken.
        """
        if compat not in get_args(Compat):
            raise ValueError(f"compat is {compat!r}; it must be one of {get_args(Compat)}")
        config = read(folder / "tokenizer_config.json")
        state = read(folder / "tokenizer.json")
        is_llama = str(config.get("tokenizer_class", "")).removesuffix("Fast") == "LlamaTokenizer"
        if compat == "transformers>=5" and is_llama:
            state |= {"normalizer": None, "pre_tokenizer": _metaspace(config)}
        opening = _tokenizer(state, folder)
        following = opening
        pre_tokenizer = state.get("pre_tokenizer") or {}
        if pre_tokenizer.get("prepend_scheme") == "first":
            state["pre_tokenizer"] = pre_tokenizer | {"prepend_scheme": "never"}
            following = _tokenizer(state, folder)
        special = {
            token.content: index
            for index, token in opening.get_added_tokens_decoder().items()
            if token.special
        }
        bos_ids = tuple(opening.encode("").ids)
        if compat == "release" and is_llama:
            bos_ids = _bos_ids(config, opening)
        if config.get("add_eos_token") or len(bos_ids) > 1:
            raise ValueError(f"{folder}: its tokenizer ends prompts, which then cannot go on")
        return cls(opening, following, special, bos_ids)

    def encode(self, pieces: Iterable[Piece]) -> tuple[int, ...]:
        """Token ids of a prompt, from <s> on."""
        ids = list(self.bos_ids)
        is_opening = True
        for piece in join_text(pieces):
            if isinstance(piece, str):
                tokenizer = self.opening if is_opening else self.following
                ids += tokenizer.encode(piece, add_special_tokens=False).ids
            else:
                ids.append(piece)
            is_opening = False
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, without special tokens and without the first word's space."""
        text: str = self.opening.decode(list(ids), skip_special_tokens=True)
        return text

    def split(self, markup: str) -> list[Piece]:
        """Cuts a string in which special tokens are written as text, longest match first."""
        names = sorted(self.special, key=len, reverse=True)
        pieces = re.split(f"({'|'.join(map(re.escape, names))})", markup)
        return [self.special.get(piece, piece) for piece in pieces]


def compat_of(folders: Iterable[Path]) -> Compat:
    """The token ids that a model knows: those of the transformers version that wrote its folder.

    The first folder that tells counts: by `config.json`, which names the version or is older than
    such names, or by `processor_config.json`, which has an image processor's settings since 5.0.
    """
    for folder in folders:
        if (path := folder / "config.json").exists():
            return "transformers>=5" if version_of(read(path), "4") >= (5, 0) else "release"
        path = folder / "processor_config.json"
        if path.exists() and "image_processor" in read(path):
            return "transformers>=5"
    return "release"


def join_text(pieces: Iterable[Piece]) -> list[Piece]:
    """Joins neighbouring texts, which are encoded as one, and drops empty ones."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined


def _tokenizer(state: dict[str, Any], folder: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(json.dumps(state))
    except Exception as error:  # the only class that tokenizers raises
        raise ValueError(f"{folder / 'tokenizer.json'} is not a tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # as text, that is
    return tokenizer


def _bos_ids(config: dict[str, Any], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that the release's LlamaTokenizer put first, whatever `tokenizer.json` says."""
    if not config.get("add_bos_token", True):
        return ()
    bos = config.get("bos_token", "<s>")
    bos_id = tokenizer.token_to_id(bos["content"] if isinstance(bos, dict) else bos)
    if bos_id is None:
        raise ValueError(f"tokenizer.json lacks the bos_token {bos} of tokenizer_config.json")
    return (bos_id,)


def _metaspace(config: dict[str, Any]) -> dict[str, Any]:
    """The pre-tokenizer that transformers 5 gives every LlamaTokenizer, whatever its file says."""
    scheme = "always" if config.get("legacy", False) else "first"
    if config.get("add_prefix_space") is False:
        scheme = "never"
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False}

"""A request as a transformers processor takes it: one text, with a sign for each picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from vlmbench.backends import pictures
from vlmbench.backends.spelling import joined
from vlmbench.schema import Message, Request

if TYPE_CHECKING:
    from PIL.Image import Image


NO_TEMPLATE = (
    "this checkpoint has no chat template: it takes one message, as from the prompt style "
    "idefics2-m4-base"
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request in its model's own form, up to where the answer goes on."""

    request: Request
    text: str
    pictures: tuple[Image, ...]
    """Decoded, upright, RGB; in the order of their signs."""


class Look(NamedTuple):
    """How pictures are shown, and what stands before a conversation."""

    on_white: bool = False
    """Transparent parts are put on white; else their alpha is dropped."""

    max_side: int | None = None
    system: str | None = None


def render(processor: Any, request: Request, look: Look) -> Rendered:
    """Apply the processor's chat template; without one, join the only message's pieces.

    Raises: ValueError for a picture that cannot be decoded, a text that holds the picture's sign,
    a template that refuses the messages, and a conversation for a model without a template.
    """
    sign = picture_sign(processor)
    messages = request.messages
    if look.system is not None:
        messages = (Message(role="system", content=(look.system,)), *messages)
    pieces = [piece for message in messages for piece in message.content]
    if sign and any(isinstance(piece, str) and sign in piece for piece in pieces):
        raise ValueError(f"the text holds {sign!r}, which this processor takes for a picture")
    if processor.chat_template is not None:
        text = _chat(processor, messages)
    elif sign and len(messages) == 1:
        shown = "" if writes_signs(processor) else sign
        text = "".join(piece if isinstance(piece, str) else shown for piece in pieces)
    else:
        raise ValueError(NO_TEMPLATE)
    images = tuple(
        pictures.shown(piece, on_white=look.on_white, max_side=look.max_side)
        for piece in pieces
        if not isinstance(piece, str)
    )
    if writes_signs(processor) and len(images) > 1:
        raise ValueError(f"this model takes one picture, not {len(images)}")
    if request.answer_prefix:
        text = joined(text, request.answer_prefix)
    return Rendered(request, text, images)


def end_of_turn(processor: Any, stop_ids: frozenset[int]) -> str:
    """The token that the chat template puts right behind an answer, if it is one that ends them."""
    if processor.chat_template is None:
        return ""
    answer = "forty-two"
    messages = [Message(role=role, content=(answer,)) for role in ("user", "assistant")]
    _, _, rest = _chat(processor, messages, is_asking=False).rpartition(answer)
    ids = encode(processor.tokenizer, rest)
    if not ids or ids[0] not in stop_ids:
        return ""
    token: str = processor.tokenizer.convert_ids_to_tokens(ids[0])
    return token


def encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of a text, in which special tokens are read as such, with none around it."""
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


def picture_sign(processor: Any) -> str | None:
    """The text that stands for a picture; some processors hold it as a token with properties."""
    sign = getattr(processor, "image_token", None)
    return getattr(sign, "content", sign)


def writes_signs(processor: Any) -> bool:
    """True if the processor itself puts a lone picture's tokens before the text (BLIP-2)."""
    return getattr(processor, "num_query_tokens", None) is not None


def takes_parts(processor: Any) -> bool:
    """True if the chat template takes content as a list of parts, False if as one text.

    Templates of tokenizers are often written for text, and print a list as Python shows it.
    """
    part = {"type": "text", "text": "forty-two"}
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": [part]}], add_generation_prompt=True, tokenize=False
    )
    return "forty-two" in text and "'type'" not in text


def _chat(processor: Any, messages: Any, *, is_asking: bool = True) -> str:
    if getattr(processor, "takes_text_alone", False):
        return _text_chat(processor, messages, is_asking=is_asking)
    conversation = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": piece} if isinstance(piece, str) else {"type": "image"}
                for piece in message.content
            ],
        }
        for message in messages
    ]
    text: str = processor.apply_chat_template(
        conversation, add_generation_prompt=is_asking, tokenize=False
    )
    return text


def _text_chat(processor: Any, messages: Any, *, is_asking: bool) -> str:
    sign = picture_sign(processor) or ""
    conversation = [
        {
            "role": message.role,
            "content": "".join(p if isinstance(p, str) else sign for p in message.content),
        }
        for message in messages
    ]
    text: str = processor.apply_chat_template(
        conversation, add_generation_prompt=is_asking, tokenize=False
    )
    return text

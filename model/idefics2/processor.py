"""Texts and pictures to a `Prompt`, as a checkpoint's folder configures it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from idefics2 import chat
from idefics2.config import Idefics2Config
from idefics2.config_format import read
from idefics2.files import text_of
from idefics2.images import ImageSettings, pack
from idefics2.prompt import Prompt, Slots
from idefics2.tokens import Compat, Piece, Tokens, compat_of, join_text

IMAGE = "<image>"
FAKE = "<fake_token_around_image>"
END_OF_UTTERANCE = "<end_of_utterance>"

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
IMAGES, PROCESSOR = "preprocessor_config.json", "processor_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """Makes prompts in the three forms of Idefics2's checkpoints.

    Text is text: "<image>" or "</s>" in it are encoded as those letters, and can neither forge a
    picture's slots nor end the prompt. Only `from_markup` reads special tokens in text, as the
    released processor always does.
    """

    config: Idefics2Config
    tokens: Tokens
    images: ImageSettings
    chat_template: str | None
    """None for the base model, which completes text and was not taught to converse."""
    stop_ids: tuple[int, ...]
    """Any of these ends a generation: those of `generation_config.json`, and <end_of_utterance>
    where the chat template ends turns with it."""
    bad_ids: tuple[tuple[int, ...], ...]
    """Words that are never generated: the tokens for images and around them."""
    compat: Compat = "release"

    @classmethod
    def load(
        cls,
        folder: str | Path,
        config: Idefics2Config,
        *,
        compat: Compat | None = None,
        model_folder: Path | None = None,
    ) -> Processor:
        """The processor of a checkpoint's folder, as released or as written by transformers.

        Without `compat`, token ids are those of the transformers version that wrote the folder.
        `model_folder` has `generation_config.json`, if another does.
        `dataclasses.replace` on the result, or on its `images`, turns splitting on or off.

        Raises: ValueError naming the files that are missing, or one that disagrees with `config`.
        """
        folder = Path(folder)
        model_folder = folder if model_folder is None else model_folder
        _check_files(folder, model_folder)
        compat = compat_of([model_folder, folder]) if compat is None else compat
        processor = _optional(folder / PROCESSOR)
        tokens = Tokens.load(folder, compat=compat)
        if FAKE not in tokens.special or tokens.special.get(IMAGE) != config.image_id:
            raise ValueError(
                f"{folder / 'tokenizer.json'} must have {FAKE}, and {IMAGE} as {config.image_id}: "
                f"it has {tokens.special}"
            )
        template = _chat_template(folder, processor)
        return cls(
            config=config,
            tokens=tokens,
            images=_image_settings(folder, processor, config),
            chat_template=template,
            stop_ids=_stop_ids(model_folder, tokens, template),
            bad_ids=_bad_ids(model_folder, tokens),
            compat=compat,
        )

    def prompt(self, parts: Iterable[str | Image.Image | Slots]) -> Prompt:
        """A prompt of texts and pictures in their order, to be continued: for the base model.

        Where `Slots` stand for a picture, the prompt has its ids and not its patches.

        Raises: ValueError for a picture that `images.pack` refuses.
        """
        return self._prompt(list(parts))

    def chat(
        self, messages: Sequence[chat.Message], *, add_generation_prompt: bool = True
    ) -> Prompt:
        """A prompt of a conversation, for the instruct and chatty models.

        Raises: ValueError if the checkpoint's chat template is none or another, and as `prompt`.
        """
        if self.chat_template is None:
            raise ValueError("this checkpoint has no chat template: give it a text to continue")
        end_of_utterance = self.tokens.special.get(END_OF_UTTERANCE)
        if self.chat_template.strip() != chat.RELEASED_TEMPLATE or end_of_utterance is None:
            raise ValueError(f"this checkpoint's chat is not Idefics2's: {self.chat_template!r}")
        return self._prompt(chat.render(messages, end_of_utterance, add_generation_prompt))

    def from_markup(self, text: str, images: Sequence[Image.Image]) -> Prompt:
        """A prompt from the released processor's own input: text with an `<image>` per picture.

        Raises: ValueError unless there are as many of one as of the other, and as `prompt`.
        """
        pieces = self.tokens.split(text)
        num_slots = pieces.count(self.config.image_id)
        if num_slots != len(images):
            raise ValueError(f"{num_slots} {IMAGE} in the text, but {len(images)} pictures")
        next_image = iter(images)
        return self._prompt(
            [next(next_image) if piece == self.config.image_id else piece for piece in pieces]
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, without special tokens."""
        return self.tokens.decode(ids)

    def _prompt(self, parts: Sequence[Piece | Image.Image | Slots]) -> Prompt:
        packed = pack((part for part in parts if isinstance(part, Image.Image)), self.images)
        grid = packed.grid_I2.tolist()
        slots = iter([self.config.image_slots(rows, columns) for rows, columns in grid])
        pieces: list[Piece] = []
        for part in parts:
            if isinstance(part, Image.Image):
                part = Slots(tuple(islice(slots, self.images.num_crops)))
            if isinstance(part, Slots):
                for num_slots in part.crops:
                    pieces += [self._fake, *[self.config.image_id] * num_slots, self._fake]
            else:
                pieces.append(part)
        pieces = list(_merge_pairs(join_text(pieces), self._fake))
        if self.compat == "transformers>=5":
            pieces = list(_space_after(pieces, self._fake))
        return Prompt(self.tokens.encode(pieces), packed.patches_PK, packed.grid_I2)

    @property
    def _fake(self) -> int:
        return self.tokens.special[FAKE]


def _merge_pairs(pieces: Iterable[Piece], fake: int) -> Iterator[Piece]:
    """Drops one of the two tokens between a crop's slots and the next crop's."""
    is_unpaired = False
    for piece in pieces:
        is_second = is_unpaired and piece == fake
        is_unpaired = piece == fake and not is_second
        if not is_second:
            yield piece


def _space_after(pieces: Iterable[Piece], fake: int) -> Iterator[Piece]:
    """Puts a space between an image and a word, but none before "<", as transformers 5 does."""
    previous: Piece | None = None
    for piece in pieces:
        if previous == fake and isinstance(piece, str) and not re.match(r"\s|<", piece):
            piece = " " + piece
        yield piece
        previous = piece


def _check_files(folder: Path, model_folder: Path) -> None:
    """Raises: ValueError if files are missing, naming all of them and where they may be."""
    missing = [name for name in TOKENIZER if not (folder / name).exists()]
    if not (folder / IMAGES).exists() and not _optional(folder / PROCESSOR).get("image_processor"):
        missing.append(IMAGES)
    if not missing:
        return
    near = model_folder.absolute().parent  # a Trainer's checkpoint-500 is in its output folder
    has_all = all((near / name).exists() for name in TOKENIZER)
    where = str(near) if has_all else "a folder or hub id that has them, such as its base model's"
    raise ValueError(f"{folder} has no {', '.join(missing)}: give --processor {where}")


def _image_settings(
    folder: Path, processor: dict[str, Any], config: Idefics2Config
) -> ImageSettings:
    """Settings in `preprocessor_config.json`, or `processor_config.json` by transformers 5."""
    content = processor.get("image_processor") or read(folder / IMAGES)
    settings = ImageSettings.from_json(content, patch_size=config.vision.patch_size)
    if config.square_images:
        settings = replace(settings, square=config.vision.image_size)
    return settings


def _chat_template(folder: Path, processor: dict[str, Any]) -> str | None:
    """The chat template, which transformers has kept in four places; the latest wins."""
    if (path := folder / "chat_template.jinja").exists():
        return text_of(path)
    tokenizer = _optional(folder / "tokenizer_config.json")
    for content in (_optional(folder / "chat_template.json"), processor, tokenizer):
        found = content.get("chat_template")
        if isinstance(found, list):  # several, by name
            found = next((one["template"] for one in found if one["name"] == "default"), None)
        if found is not None:
            return str(found)
    return None


def _stop_ids(folder: Path, tokens: Tokens, template: str | None) -> tuple[int, ...]:
    stop = _optional(folder / "generation_config.json").get("eos_token_id")
    if stop is None:
        stop = [
            tokens.special[name] for name in ("</s>", END_OF_UTTERANCE) if name in tokens.special
        ]
    ids = (stop,) if isinstance(stop, int) else tuple(stop)
    end = tokens.special.get(END_OF_UTTERANCE)
    if template is None or END_OF_UTTERANCE not in template or end is None or end in ids:
        return ids
    return (*ids, end)


def _bad_ids(folder: Path, tokens: Tokens) -> tuple[tuple[int, ...], ...]:
    bad = _optional(folder / "generation_config.json").get("bad_words_ids")
    return tuple(map(tuple, bad or [[tokens.special[FAKE]], [tokens.special[IMAGE]]]))


def _optional(path: Path) -> dict[str, Any]:
    return read(path) if path.exists() else {}

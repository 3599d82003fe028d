"""Samples as token ids, with each token's attention mask and loss weight.

An example is a tree of segments: attention is causal within a segment, and sees all of its parent's
tokens. A dialogue is one segment; independent questions are children of the pictures' segment.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from typing import Any, NamedTuple

import numpy as np

from idefics2.chat import Message
from idefics2.images import PackedImages, pack
from idefics2.processor import END_OF_UTTERANCE, FAKE, Processor
from idefics2.prompt import Slots
from idefics2.train.augmentation import Augmentation
from idefics2.train.samples import Content, Conversation, Document, Sample, Together

Array = np.ndarray[Any, np.dtype[Any]]


class Segment(NamedTuple):
    """A run of tokens of one example."""

    length: int
    parent: int | None
    """Index of the segment that its tokens attend to as well; None: it starts a sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One sample, encoded. P patches, K values of a patch, I crops."""

    index: int
    """The sample's number in its stage."""
    source: str
    ids: tuple[int, ...]
    weights: tuple[float, ...]
    """Loss weight of each token; 0 for those of the prompt."""
    segments: tuple[Segment, ...]
    patches_PK: Array
    grid: tuple[tuple[int, int], ...]

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    @property
    def num_patches(self) -> int:
        return len(self.patches_PK)


def numbers_of(seed: int, index: int) -> random.Random:
    """A sample's own generator: the same in every process and after a restart."""
    return random.Random(f"{seed}/{index}")  # the hash of a string spreads neighbouring numbers


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes samples as examples."""

    processor: Processor
    augmentation: Augmentation
    max_tokens: int
    """Longest sequence; longer documents are truncated, and last turns of conversations dropped."""
    seed: int
    source_tokens: Mapping[str, int] = field(default_factory=dict)
    """Longest sequence by source, where it differs from `max_tokens`."""

    def __call__(self, sample: Sample, index: int) -> Example:
        """The example of the sample with that number.

        Raises: ValueError where not even the first turn, or no token with a loss, fits.
        """
        numbers = numbers_of(self.seed, index)
        members = sample.samples if isinstance(sample, Together) else (sample,)
        splits = self.augmentation.splits(numbers)
        if isinstance(members[0], Conversation) and members[0].split is not None:
            splits = members[0].split
        images = replace(self.processor.images, split=splits)
        processor = replace(self.processor, images=images)
        examples = []
        max_tokens = self.source_tokens.get(members[0].source, self.max_tokens)
        for member in members:
            member = self.augmentation.change(member, numbers)
            if isinstance(member, Document):
                example = _document(member, index, processor, max_tokens)
            elif member.layout == "dialogue":
                example = _dialogue(member, index, processor, max_tokens)
            else:
                example = _independent(member, index, processor, max_tokens)
            examples.append(example)
        return _joined(examples, max_tokens)


def _joined(examples: Sequence[Example], max_tokens: int) -> Example:
    """One example of as many whole ones as fit; its source is the first's."""
    joined, *others = examples
    for other in others:
        if joined.num_tokens + other.num_tokens > max_tokens:
            break
        first = len(joined.segments)
        segments = tuple(
            Segment(length, None if parent is None else first + parent)
            for length, parent in other.segments
        )
        pictures = [e.patches_PK for e in (joined, other) if e.num_patches]
        joined = replace(
            joined,
            ids=joined.ids + other.ids,
            weights=joined.weights + other.weights,
            segments=joined.segments + segments,
            patches_PK=np.concatenate(pictures) if pictures else joined.patches_PK,
            grid=joined.grid + other.grid,
        )
    return joined


def _document(sample: Document, index: int, processor: Processor, max_tokens: int) -> Example:
    content, pictures = _place(processor, sample.content)
    eos_ids = processor.config.text.eos_ids[:1]
    ids = (*processor.prompt(content).ids, *eos_ids)
    given = {processor.config.image_id, processor.tokens.special[FAKE], *processor.tokens.bos_ids}
    slots = [sum(part.crops) for part in content if isinstance(part, Slots)]
    stop, num_pictures = _cut(ids, processor.config.image_id, slots, max_tokens)
    ids, pictures = ids[:stop], pictures[:num_pictures]
    weights = tuple(0.0 if token in given else 1.0 for token in ids)
    if not any(weights[1:]):
        raise ValueError(f"no text of {sample.source} fits {max_tokens} tokens")
    return _example(index, sample, ids, weights, (Segment(len(ids), None),), pictures)


def _cut(
    ids: tuple[int, ...], image_id: int, slots: Sequence[int], max_tokens: int
) -> tuple[int, int]:
    """Numbers of ids and of pictures that fit, with no picture cut."""
    places = [place for place, token in enumerate(ids[:max_tokens]) if token == image_id]
    ends = list(accumulate(slots))
    num_pictures = sum(end <= len(places) for end in ends)
    whole = ends[num_pictures - 1] if num_pictures else 0
    if whole == len(places):
        return min(len(ids), max_tokens), num_pictures
    return places[whole] - 1, num_pictures  # before the token that comes before the picture


def _dialogue(sample: Conversation, index: int, processor: Processor, max_tokens: int) -> Example:
    turns = list(sample.turns)
    turns[0] = replace(turns[0], content=(*sample.shared, *turns[0].content))
    messages: list[Message] = []
    ids: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    pictures: list[PackedImages] = []
    for turn in turns:
        content, new_pictures = _place(processor, turn.content)
        messages += [Message("user", content), Message("assistant", (turn.answer,))]
        longer, start = _answered(processor, messages)
        if len(longer) > max_tokens:
            break
        given = (0.0,) * (start - len(ids))
        ids, weights = longer, (*weights, *given, *(turn.weight,) * (len(longer) - start))
        pictures += new_pictures
    if not ids:
        raise ValueError(f"the first turn of {sample.source} exceeds {max_tokens} tokens")
    return _example(index, sample, ids, weights, (Segment(len(ids), None),), pictures)


def _independent(
    sample: Conversation, index: int, processor: Processor, max_tokens: int
) -> Example:
    shared, pictures = _place(processor, sample.shared)
    sequences = []
    for turn in sample.turns:
        content, _ = _place(processor, turn.content)
        messages = [Message("user", shared + content), Message("assistant", (turn.answer,))]
        ids, start = _answered(processor, messages)
        if len(ids) <= max_tokens:
            sequences.append((ids, start, turn.weight))
    if not sequences:
        raise ValueError(f"no question of {sample.source} fits {max_tokens} tokens")
    num_shared = _num_shared([ids[: start - 1] for ids, start, _ in sequences])
    all_ids = sequences[0][0][:num_shared]
    if processor.config.image_id in sequences[0][0][num_shared:]:
        raise ValueError(f"questions of {sample.source} differ before their pictures end")
    weights = (0.0,) * num_shared
    segments = [Segment(num_shared, None)]
    for ids, start, weight in sequences:
        all_ids += ids[num_shared:]
        weights += (0.0,) * (start - num_shared) + (weight,) * (len(ids) - start)
        segments.append(Segment(len(ids) - num_shared, 0))
    return _example(index, sample, all_ids, weights, tuple(segments), pictures)


def _place(
    processor: Processor, content: Content
) -> tuple[tuple[str | Slots, ...], list[PackedImages]]:
    """The content with slots in place of its pictures, and the pictures."""
    parts: list[str | Slots] = []
    pictures = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
            continue
        packed = pack([part], processor.images)
        crops = [processor.config.image_slots(*shape) for shape in packed.grid_I2.tolist()]
        parts.append(Slots(tuple(crops)))
        pictures.append(packed)
    return tuple(parts), pictures


def _answered(processor: Processor, messages: Sequence[Message]) -> tuple[tuple[int, ...], int]:
    """Ids of a conversation up to the last <end_of_utterance>, and where the last answer begins.

    It begins where the conversation differs from the prompt that the model will be given.
    """
    prompt = processor.chat(messages[:-1]).ids
    ids = processor.chat(messages, add_generation_prompt=False).ids
    end = processor.tokens.special[END_OF_UTTERANCE]
    stop = len(ids) - ids[::-1].index(end)
    return ids[:stop], _num_shared([prompt, ids[: stop - 1]])


def _num_shared(sequences: Sequence[tuple[int, ...]]) -> int:
    """Length of the sequences' common prefix."""
    columns = zip(*sequences, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _example(
    index: int,
    sample: Conversation | Document,
    ids: tuple[int, ...],
    weights: tuple[float, ...],
    segments: tuple[Segment, ...],
    pictures: Iterable[PackedImages],
) -> Example:
    pictures = list(pictures)
    empty_PK = np.empty((0, 0), np.uint8)
    return Example(
        index=index,
        source=sample.source,
        ids=ids,
        weights=weights,
        segments=segments,
        patches_PK=np.concatenate([p.patches_PK.numpy() for p in pictures])
        if pictures
        else empty_PK,
        grid=tuple((rows, columns) for p in pictures for rows, columns in p.grid_I2.tolist()),
    )

"""The values that walk from a data set's row to a cell of the board."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from vlmbench import image_files

if TYPE_CHECKING:
    from PIL.Image import Image

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

Profile = Literal["official", "strict", "lmms", "vlmevalkit"]
"""A set of scoring rules: the official evaluator's, ours without free credit, or a harness's."""

PROFILES: tuple[Profile, ...] = get_args(Profile)

FOLLOWS: Mapping[Profile, str] = {
    "official": "the benchmark's own evaluator",
    "strict": "vlmbench",
    "lmms": "lmms-eval 0.7.3",
    "vlmevalkit": "VLMEvalKit e8e78f0 (August 2026)",
}
"""Whose rules a profile follows, in which version."""

FinalAnswer = Literal["none", "tags", "full"]
"""How a response is read before it is scored: as it is, without tags, or as its final answer."""

FINAL_ANSWERS: tuple[FinalAnswer, ...] = get_args(FinalAnswer)


class Picture(ABC):
    """A picture that is read and decoded only when asked for."""

    @abstractmethod
    def encoded(self) -> bytes:
        """The file's bytes as the data set stores them. Raises: OSError or ValueError."""

    @abstractmethod
    def decode(self) -> Image:
        """The decoded picture, in the mode in which it is stored. Raises: ValueError."""

    @cached_property
    def digest(self) -> str:
        """BLAKE2b of the encoded bytes, 128 bits in hexadecimal. Raises: OSError or ValueError.

        As collision-free as needed here, and twice as fast as SHA-256.
        """
        return hashlib.blake2b(self.encoded(), digest_size=16).hexdigest()

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the file's header; (0, 0) where it cannot be read.

        A sample with such a picture fails with the reason when it is run.
        """
        try:
            return image_files.opened(self.encoded()).size
        except (OSError, ValueError):
            return 0, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One question of one task, in the same form for every task and the same for every model."""

    id: str
    """Unique within the split; the data set's own id as text."""

    image_group: str
    """Equal for samples that share pictures: the unit of planning, the cluster of intervals."""

    images: Mapping[int, Picture] = field(default_factory=dict)
    """Pictures by their N in the text's `<image N>`; only 1 where the text names none."""

    question: str
    interleaved: bool = False
    """True: `<image N>` in question and options is a picture's place; else pictures come first."""

    hint: str = ""
    """Context that stands before the question (MMBench); empty: none."""

    options: Mapping[str, str] = field(default_factory=dict)
    """Letter to text, in order; empty for an open question."""

    answers: tuple[str, ...] = ()
    """Gold answers, or the gold letters of a choice; empty: not public."""

    ocr_tokens: tuple[str, ...] = ()
    """Words that an OCR system read in the picture, for prompts that give them (TextVQA)."""

    circular_group: str = ""
    """Equal for the rotations of one multiple-choice question (MMBench); empty: not rotated."""

    rotation: int = 0
    """How far the options are rotated; 0 is the group's main row."""

    breakdown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Dimension to the categories that the sample counts in: {"subject": ("Art",)}."""

    facts: Mapping[str, Json] = field(default_factory=dict)
    """What only this task's prompt or scorer needs, such as MathVista's `precision`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation; pictures stand where they are shown."""

    role: Literal["system", "user", "assistant"]
    content: tuple[str | Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a model is asked: it holds no answers, so a prompt cannot see them."""

    id: str
    image_group: str
    messages: tuple[Message, ...]
    """Few-shot turns first; the last message is the user's."""

    answer_prefix: str = ""
    """Text that the assistant's turn starts with, such as "Answer:"."""

    max_new_tokens: int
    stop: tuple[str, ...] = ()
    bad_words: tuple[str, ...] = ()
    """Texts that must not be generated."""

    candidates: tuple[str, ...] = ()
    """Continuations to rank by log-likelihood; the response is the best one. Empty: generate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's answer to one sample, as a prediction file or a run's log gives it."""

    id: str | int | float
    """Id as given; it goes back out unchanged."""

    response: str | None
    """None: the model failed on this sample."""

    error: str = ""
    """Why it failed."""

    final: Json = ""
    """An answer that is already extracted from the response, where `is_final`."""

    is_final: bool = False
    """True: `final` is the answer; nothing is extracted from the response (MathVista, MMMU)."""

    is_cut_off: bool = False
    """True: the model was stopped at its limit of new tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one profile's rules say of one response."""

    value: float
    """Credit in [0, 1]; where the rules guess at random, the expected value of the guess."""

    parsed: Json
    """The answer as it was compared; None: the rules found no answer in the response."""

    how: str
    """The rule that found the answer, in one or two words: "letter", "option text", "guess", ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds a request took, by stage; None: the backend cannot tell."""

    queue_s: float | None = None
    preprocess_s: float | None = None
    """Decoding and resizing pictures, tokenising text."""

    encode_s: float | None = None
    prefill_s: float | None = None
    first_token_s: float | None = None
    """Time from start of preprocessing to first token."""

    decode_s: float | None = None
    total_s: float | None = None
    """Latency to one client; requests of one batch overlap, so these do not add up to a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a backend answers to a request: a text, or the reason why there is none."""

    id: str
    """The request's."""

    text: str | None
    """None: failed."""

    finish_reason: Literal["stop", "length", "choice", "error"]
    """"length": cut off at `max_new_tokens`; "choice": the best of the request's candidates."""

    visual_tokens: int | None = None
    prompt_tokens: int | None = None
    """All tokens before the answer, visual ones included."""

    generated_tokens: int | None = None
    flops: int | None = None
    """Computed work of this answer alone: nothing padded, and nothing shared with others."""

    timings: Timings = Timings()
    device_s: float | None = None
    """Device-seconds of this request: what a shared encode or prefill took is divided by its users,
    a decode step by its rows, so that all requests add up to the time in which the device was busy.
    None: the backend cannot tell."""

    log_likelihoods: tuple[float, ...] = ()
    """Natural log-likelihood of each candidate, a sum over tokens; empty: not known."""

    attempt: int = 1
    """2 and more: earlier attempts failed (out of memory, a server's 503) or were cut off."""

    error: str = ""
    """Error class and message: "ValueError: the picture cannot be decoded"."""

    reasoning: str = ""
    """What a server gives apart from the answer as the model's reasoning; never scored."""

    reasoning_tokens: int | None = None
    """Those of `generated_tokens` that are reasoning; None: not counted."""

    token_limit: int | None = None
    """New tokens allowed, where it was asked again with more than the request allows."""

    def __post_init__(self) -> None:
        if (self.text is None) != (self.finish_reason == "error"):
            raise ValueError(f"response {self.id!r}: no text exactly where it finished by error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a backend says of the model and the device that it runs on."""

    model: str
    revision: str = ""
    """Commit of a hub checkpoint; empty where there is none."""

    weights_digest: str = ""
    """Equal for equal weights; empty where they cannot be seen (a server)."""

    device: str = ""
    device_name: str = ""
    """The accelerator's, as its driver gives it; empty on a CPU or a server."""

    device_uuid: str = ""
    """The accelerator's, for its energy counter: "GPU-..."."""

    network: str = ""
    """What lies between this process and the model: "loopback", or a server's host; empty: nothing,
    the model is in this process."""

    dtype: str = ""
    num_parameters: int | None = None
    peak_device_memory_bytes: int | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Everything else that can change an answer: splitting, sampling, chat template, ..."""

    work: Mapping[str, Json] = field(default_factory=dict)
    """What was computed so far and what was asked for; empty where the backend does not count."""

    notices: tuple[str, ...] = ()
    """What a reader of the scores should know and the run did not ask for, a line each."""

"""Results that others report, read from results/baselines.yaml, which explains its fields."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from vlmbench import files
from vlmbench.errors import VlmbenchError, no_such

SCHEMA_VERSION = 1

MAX_LISTS = 10_000
MAX_BYTES = 2**24
"""Of the file; that of the project has 200 kB."""
_PACKAGED = Path(__file__).parents[2] / "_results" / "baselines.yaml"  # in a wheel
_CHECKOUT = Path(__file__).parents[3] / "results" / "baselines.yaml"

Trust = Literal["authors", "benchmark", "competitor", "later paper", "low", "memory"]
"""Who reports a result, the most trustworthy first."""

TRUST: tuple[Trust, ...] = get_args(Trust)
SystemKind = Literal["open", "proprietary", "control"]
SplitBasis = Literal["printed", "customary", "unknown"]
METRICS = ("vqa_accuracy", "anls", "accuracy", "cider")
UNITS = {"B": 1e9, "M": 1e6}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSource:
    """A publication that reports results."""

    key: str
    title: str
    address: str | None
    """None: not known to us."""

    read: str
    """How much of the source was seen: "yes", "in part", "in an excerpt", ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One reported score."""

    system: str
    task: str
    split: str | None
    """None: the source names the benchmark alone."""

    metric: str
    score: float
    """Score in percent; CIDEr in points."""

    shots: int | None
    """Few-shot examples; None: unknown, or `is_finetuned`."""

    is_finetuned: bool
    """True: fine-tuned on this task."""

    tokens_per_image: int | None
    """Visual tokens per image; None: unknown, or `tokens_per_tile`."""

    tokens_per_tile: str
    """Visual tokens per tile, "81 per 384x384 tile"; empty: images are not tiled, or unknown."""

    harness: str
    """Who ran and scored the model; empty: the reporter, with a harness that is not named."""

    source: BaselineSource | None
    """The publication; None: from memory, or a third party's table, so the result is unverified."""

    place: str
    """Table or figure within the source."""

    split_is: SplitBasis
    trust: Trust
    is_verified: bool
    """True: the number was seen in the source."""

    note: str

    @property
    def rank(self) -> tuple[bool, int]:
        """Sort key: the most trustworthy results first."""
        return not self.is_verified, TRUST.index(self.trust)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A model, or a control such as chance, and what is reported of it."""

    name: str
    kind: SystemKind
    num_parameters: int | None
    """Nominal number of parameters; None: not published, or not a model."""

    note: str
    results: tuple[Reported, ...]


@cache
def load(path: Path | None = None) -> tuple[System, ...]:
    """All systems of the file, in its order.

    Raises: VlmbenchError for a missing file, or for a record that breaks the schema, which is
    named by its system and number.
    """
    import yaml

    path = path or (_PACKAGED if _PACKAGED.is_file() else _CHECKOUT)
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # six times as quick
        with files.opened(path) as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise VlmbenchError(f"{path} has more than {MAX_BYTES:,} bytes")
        depth = 0
        for token in yaml.scan(text, Loader=loader):
            if isinstance(token, yaml.AliasToken):  # a few of them can stand for gigabytes
                raise VlmbenchError(f"{path} has an alias (*{token.value}), which is not read")
            depth += isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken)
            if depth > MAX_LISTS:  # nested, they take quadratic time
                raise VlmbenchError(f"{path} has more than {MAX_LISTS:,} lists in brackets")
        content = yaml.load(text, Loader=loader)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise VlmbenchError(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise VlmbenchError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    top = _Record(content, str(path))
    top.only("schema_version", "compiled", "sources", "systems")
    if top.of("schema_version", int) != SCHEMA_VERSION:
        raise top.wrong("schema_version", f"is not {SCHEMA_VERSION}")
    top.of("compiled", datetime.date)
    sources = {
        key: _source(key, _Record(source, f"{path}, source {key!r}"))
        for key, source in top.of("sources", dict).items()
    }
    systems = tuple(
        _system(_Record(system, f"{path}, system {number}"), sources)
        for number, system in enumerate(top.of("systems", list), 1)
    )
    names = [system.name for system in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise VlmbenchError(f"{path}: two systems are named {twice!r}")
    return systems


def choose(systems: Sequence[System], names: Sequence[str]) -> tuple[System, ...]:
    """The systems whose names match one of these patterns (`*`, `?`), in file order.

    Raises: VlmbenchError for a pattern that matches none.
    """
    known = [system.name for system in systems]
    for name in names:
        if not any(_fits(found, name) for found in known):
            raise no_such("baseline", name, known, "in results/baselines.yaml")
    return tuple(s for s in systems if any(_fits(s.name, name) for name in names))


def _fits(name: str, pattern: str) -> bool:
    return name.lower() == pattern.lower() or fnmatch(name.lower(), pattern.lower())


class _Record:
    """A mapping of the file; a missing, unknown or malformed field is an error that names it."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, Mapping):
            raise VlmbenchError(f"{where} is no mapping")
        self._content, self.where = content, where

    def wrong(self, key: str, why: str) -> VlmbenchError:
        return VlmbenchError(f"{self.where}: {key} ({self._content.get(key)!r}) {why}")

    def only(self, *keys: str) -> None:
        for key in self._content:
            if key not in keys:
                raise no_such("field", str(key), keys, f"in {self.where}")

    def has(self, key: str) -> bool:
        return key in self._content

    def of(self, key: str, *kinds: type) -> Any:
        """The value, which must exist and have one of these types (NoneType: may be null)."""
        if not self.has(key):
            raise VlmbenchError(f"{self.where} lacks {key}")
        value = self._content[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.wrong(key, f"is no {' or '.join(kind.__name__ for kind in kinds)}")
        if value == "":
            raise self.wrong(key, "is empty")
        return value

    def text(self, key: str) -> str:
        """The text, or an empty one where the record has none."""
        return str(self.of(key, str)) if self.has(key) else ""

    def one_of(self, key: str, known: Sequence[str]) -> Any:
        value = self.of(key, str)
        if value not in known:
            raise self.wrong(key, f"is none of {', '.join(known)}")
        return value


def _source(key: str, record: _Record) -> BaselineSource:
    record.only("title", "address", "read")
    address = record.of("address", str, type(None))
    if address is not None and not address.startswith("https://"):
        raise record.wrong("address", "is no https address")
    return BaselineSource(
        key=key, title=record.of("title", str), address=address, read=record.of("read", str)
    )


def _system(record: _Record, sources: Mapping[str, BaselineSource]) -> System:
    record.only("name", "kind", "parameters", "note", "results")
    name: str = record.of("name", str)
    record.where += f" ({name})"
    results = record.of("results", list)
    if not results:
        raise record.wrong("results", "is empty")
    return System(
        name=name,
        kind=record.one_of("kind", get_args(SystemKind)),
        num_parameters=_parameters(record),
        note=record.text("note"),
        results=tuple(
            _reported(name, _Record(result, f"{record.where}, result {number}"), sources)
            for number, result in enumerate(results, 1)
        ),
    )


def _parameters(record: _Record) -> int | None:
    given = record.of("parameters", str, type(None))
    if given is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([BM])", given)
    if not found:
        raise record.wrong("parameters", "is no number of parameters such as 8B or 500M")
    return round(float(found[1]) * UNITS[found[2]])


def _reported(system: str, record: _Record, sources: Mapping[str, BaselineSource]) -> Reported:
    record.only(
        *("benchmark", "metric", "score", "shots", "tokens", "harness", "source", "place"),
        *("split_is", "trust", "verified", "note"),
    )
    benchmark: str = record.of("benchmark", str)
    record.where += f" ({benchmark})"
    task, at, split = benchmark.partition("@")
    if not task.isidentifier() or (at and not split):
        raise record.wrong("benchmark", "is no TASK or TASK@SPLIT")
    metric: str = record.one_of("metric", METRICS)
    score = float(record.of("score", int, float))
    if not (0 <= score <= 100 or (metric == "cider" and 0 <= score < math.inf)):
        raise record.wrong("score", "is no score in percent")
    shots = record.of("shots", int, str, type(None))
    if (isinstance(shots, str) and shots != "fine-tuned") or (isinstance(shots, int) and shots < 0):
        raise record.wrong("shots", 'is no number from 0, nor "fine-tuned"')
    tokens = record.of("tokens", int, str, type(None))
    if isinstance(tokens, str) and not re.fullmatch(r"\d+ per \d+x\d+ tile", tokens):
        raise record.wrong("tokens", 'is no number, nor such as "81 per 384x384 tile"')
    if isinstance(tokens, int) and tokens < 1:
        raise record.wrong("tokens", "is less than 1")
    key = record.of("source", str, type(None))
    if key is not None and key not in sources:
        raise no_such("source", key, sources, f"in {record.where}")
    is_verified = bool(record.of("verified", bool)) if record.has("verified") else True
    if is_verified and key is None:
        raise record.wrong("source", "is missing: a verified result has one")
    return Reported(
        system=system,
        task=task,
        split=split or None,
        metric=metric,
        score=score,
        shots=shots if isinstance(shots, int) else None,
        is_finetuned=isinstance(shots, str),
        tokens_per_image=tokens if isinstance(tokens, int) else None,
        tokens_per_tile=tokens if isinstance(tokens, str) else "",
        harness=record.text("harness"),
        source=sources[key] if key is not None else None,
        place=record.text("place"),
        split_is=record.one_of("split_is", get_args(SplitBasis)),
        trust=record.one_of("trust", TRUST),
        is_verified=is_verified,
        note=record.text("note"),
    )

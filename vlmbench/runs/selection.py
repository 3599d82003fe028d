"""Which samples of a split are run: all, the first of them, or some by id or category."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from vlmbench.conditions import ORDERINGS, Condition, equal, parse
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.runs.plan import Item
from vlmbench.schema import Sample

SHOWN = 50
"""Known ids that an error for an unknown one chooses its suggestions from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Applied to each task by itself; all parts must hold."""

    limit: int | float | None = None
    """A whole number: the first N samples; a fraction below 1: that share of the split, rounded up.

    Rotations of a question that is in are in too, so that circular groups stay whole.
    """

    ids: Sequence[str] = ()
    where: Mapping[str, str] | str = field(default_factory=dict)
    """Dimension of the breakdown to the category wanted, {"subject": "Art"}, or a condition.

    See `vlmbench.conditions`; a fact is a dimension, and its values are the sample's categories.
    """

    def __post_init__(self) -> None:
        self._condition()  # so that a wrong one is told before any data are read
        if self.limit is None:
            return
        whole = isinstance(self.limit, int) and self.limit >= 1
        if not whole and not 0 < self.limit < 1:
            raise VlmbenchError(
                f"--limit is {self.limit}; give a number of samples (1 or more) or a share below 1"
            )

    def apply(
        self, task: str, samples: Iterable[Sample], cost: Callable[[Sample], float]
    ) -> list[Item]:
        """The selected samples as items to run, in the split's order.

        Raises: VlmbenchError where nothing is left, an id is unknown or a category does not exist;
        where two rows have one id, and where a sample lacks the gold answer that others have.
        """
        wanted_ids = set(self.ids)
        condition = self._condition()
        indices: dict[str, int] = {}
        is_answered = bytearray()
        categories: dict[str, set[str]] = {}
        chosen: list[Item] = []
        circular: list[str] = []
        for index, sample in enumerate(samples):
            if indices.setdefault(sample.id, index) != index:
                raise VlmbenchError(
                    f"{task}: id {sample.id!r} stands twice in the data (rows {indices[sample.id]} "
                    f"and {index}), so answers to it cannot be told apart; keep one of the two "
                    "rows, or give each an id of its own"
                )
            is_answered.append(bool(sample.answers))
            for dimension, found in sample.breakdown.items():
                categories.setdefault(dimension, set()).update(found)
            if self.ids and sample.id not in wanted_ids:
                continue
            if condition(sample.breakdown):
                group = sys.intern(sample.image_group)
                item = Item(
                    task=task, index=index, id=sample.id, image_group=group, cost=cost(sample)
                )
                chosen.append(item)
                circular.append(sys.intern(sample.circular_group))
        _check_categories(condition, categories, task)
        if unknown := wanted_ids - indices.keys():
            raise no_such("sample", min(unknown), islice(indices, SHOWN), f"in {task}")
        chosen = self._limited(chosen, circular)
        if not chosen:
            raise VlmbenchError(f"no sample of {task} is left after --limit, --ids and --where")
        if any(is_answered):  # else the split's answers are not public, and it gets no score
            _check_answers(task, [item for item in chosen if not is_answered[item.index]])
        return chosen

    def _condition(self) -> Condition:
        if not isinstance(self.where, str):
            return equal(self.where)
        condition = parse(self.where)
        for part in condition.comparisons:
            if not part.sign:
                raise VlmbenchError(
                    f"--where {self.where}: a category has no truth of its own; write KEY=VALUE, "
                    f"such as {part.name}=Art"
                )
        return condition

    def _limited(self, chosen: list[Item], circular: list[str]) -> list[Item]:
        if self.limit is None:
            return chosen
        count = self.limit if isinstance(self.limit, int) else math.ceil(len(chosen) * self.limit)
        groups = set(circular[:count]) - {""}
        rest = zip(chosen[count:], circular[count:], strict=True)
        return chosen[:count] + [item for item, group in rest if group in groups]


def _check_categories(
    condition: Condition, categories: Mapping[str, Collection[str]], task: str
) -> None:
    """Raises: VlmbenchError for a dimension or a category that no sample has."""
    for part in condition.comparisons:
        known = categories.get(part.name)
        if known is None:
            raise no_such("category", part.name, categories or ["none"], f"in {task}")
        is_there = part.sign in ORDERINGS or any(part.is_value(name) for name in known)
        if not is_there:
            raise no_such(part.name, part.text, known, f"in {task}")


def _check_answers(task: str, unanswered: Sequence[Item]) -> None:
    """Raises: VlmbenchError if there are any: before they are asked, as they cannot be scored."""
    if unanswered:
        first = unanswered[0]
        raise VlmbenchError(
            f"{task}: selected samples without a gold answer, where others have one: "
            f"{len(unanswered):,}, the first of them {first.id!r} (row {first.index}); give them "
            "theirs, take them out of the data, or select others (--ids, --where)"
        )

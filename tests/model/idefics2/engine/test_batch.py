"""In a packed step each token sees its own prompt up to itself, wherever that is kept."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from idefics2.engine.batch import FAMILY_TOKENS, Packed, Path, cut, families, pack
from idefics2.engine.planner import Outline, plan
from idefics2.engine.scheduler import Scheduler

Ids = tuple[int, ...]
prompts = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=10).map(tuple), min_size=1, max_size=12
)


def packed_steps(
    prompts: Sequence[Ids], continuations: Sequence[Sequence[Ids]], step_tokens: int, num_slots: int
) -> Iterable[tuple[Packed, list[Ids], Ids]]:
    """Each step packed, the ids its outputs follow, and the ids that are in the trunk."""
    outlines = [
        Outline(id=f"{n:02d}", keys=ids, num_new=2, branches=tuple(len(c) - 1 for c in branches))
        for n, (ids, branches) in enumerate(zip(prompts, continuations, strict=True))
    ]
    leaves = [leaf for one in plan(outlines) for leaf in one.leaves]
    scheduler = Scheduler(leaves, num_slots, step_tokens)
    trunk: Ids = ()
    while scheduler.wants_to_read or scheduler.running:
        for slot in scheduler.running:
            scheduler.finish(slot)
        while scheduler.offer() is not None:
            scheduler.accept()
        step = scheduler.close()
        if step is None:
            continue
        followed = []
        for span in step.spans:
            followed.append(prompts[span.leaf.index])
            for ids in continuations[span.leaf.index]:
                whole = prompts[span.leaf.index] + ids[:-1]
                followed += [whole[:n] for n in range(span.stop + 1, len(whole) + 1)]
        yield pack(step, prompts, continuations, trunk_row=num_slots), followed, trunk
        trunk = prompts[step.spans[-1].leaf.index][: step.keep]


def ids_at(path: Path, packed: Packed, trunk: Ids) -> Ids:
    sources = trunk[: packed.trunk] + tuple(packed.ids)
    return tuple(sources[source] for piece in path for source in piece)


@given(prompts, st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
def test_every_token_sees_exactly_what_precedes_it(
    prompts: list[Ids], step_tokens: int, num_slots: int, seed: int
) -> None:
    dice = random.Random(seed)
    continuations: list[list[Ids]] = [
        [tuple(dice.choices(range(9), k=dice.randint(1, 4))) for _ in range(3)]
        if dice.random() < 0.3
        else []
        for _ in prompts
    ]
    seen_prompts = []
    for packed, followed, trunk in packed_steps(prompts, continuations, step_tokens, num_slots):
        whole: dict[int, Ids] = {}
        for part in packed.parts:
            before = ids_at(part.seen, packed, trunk)
            assert packed.positions[part.own.start] == len(before)
            for count, token in enumerate(part.own, 1):
                whole[token] = before + tuple(packed.ids[part.own.start : part.own.start + count])
                assert packed.positions[token] == len(whole[token]) - 1
        outputs = [token for output in packed.outputs for token in output]
        assert [whole[token] for token in outputs] == followed
        for row, path in packed.copies:
            ids = ids_at(path, packed, trunk)
            assert ids in prompts or row == num_slots
        seen_prompts += [whole[output[0]] for output in packed.outputs if output]
    assert sorted(seen_prompts) == sorted(prompts)


@given(prompts, st.integers(1, 40))
def test_a_family_has_all_that_its_parts_see(prompts: list[Ids], step_tokens: int) -> None:
    nothing: list[Sequence[Ids]] = [()] * len(prompts)
    for packed, _, _ in packed_steps(prompts, nothing, step_tokens, 20):
        groups = list(families(packed))
        assert [part for family in groups for part in family.parts] == packed.parts
        for family in groups:
            at_hand = {source for piece in family.context for source in piece}
            at_hand |= {packed.trunk + token for token in family.own}
            for part in family.parts:
                assert {source for piece in part.seen for source in piece} <= at_hand


def test_families_are_small_and_strangers_stay_apart() -> None:
    related = [(1, 2, 3, *[n] * 20) for n in range(100)]
    strangers = [(n, *[200] * 89) for n in range(200, 210)]
    prompts: list[Ids] = [*related, *strangers]
    nothing: list[Sequence[Ids]] = [()] * len(prompts)
    [(packed, _, _)] = packed_steps(prompts, nothing, 10_000, 200)
    groups = list(families(packed))
    assert max(len(family.own) for family in groups) <= FAMILY_TOKENS
    for family in groups:
        starts = {packed.ids[part.own.start] for part in family.parts}
        assert len(starts) == 1 or not starts & set(range(200, 210))
    assert len(groups) < len(related) / 2 + len(strangers)


def test_a_path_is_cut_within_and_between_its_pieces() -> None:
    path = (range(3), range(7, 9), range(20, 21))
    assert cut(path, 6) == path
    assert cut(path, 5) == (range(3), range(7, 9))
    assert cut(path, 4) == (range(3), range(7, 8))
    assert cut(path, 0) == ()

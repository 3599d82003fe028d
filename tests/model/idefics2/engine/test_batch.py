"""In a prefill batch each token sees its own prompt up to itself, wherever that is kept."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from idefics2.engine.batch import GROUP_TOKENS, KeyRanges, PrefillBatch, first_keys, pack
from idefics2.engine.planner import PlannedPrompt, plan
from idefics2.engine.scheduler import Scheduler

Ids = tuple[int, ...]
prompts = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=10).map(tuple), min_size=1, max_size=12
)


def batches_of(
    prompts: Sequence[Ids],
    continuations: Sequence[Sequence[Ids]],
    prefill_tokens: int,
    num_slots: int,
) -> Iterable[tuple[PrefillBatch, list[Ids], Ids]]:
    """Each step's batch, the ids its outputs follow, and the ids that are in the prefix slot."""
    prepared = [
        PlannedPrompt(
            index=n,
            id=f"{n:02d}",
            keys=ids,
            max_new_tokens=2,
            branches=tuple(len(c) - 1 for c in branches),
        )
        for n, (ids, branches) in enumerate(zip(prompts, continuations, strict=True))
    ]
    planned = [prompt for bucket in plan(prepared) for prompt in bucket.prompts]
    scheduler = Scheduler(planned, num_slots, prefill_tokens)
    prefix: Ids = ()
    while scheduler.should_prefill or scheduler.running:
        for slot in scheduler.running:
            scheduler.finish(slot)
        while scheduler.next_chunk() is not None:
            scheduler.admit()
        step = scheduler.close_step()
        if step is None:
            continue
        followed = []
        for chunk in step.chunks:
            followed.append(prompts[chunk.prompt.index])
            for ids in continuations[chunk.prompt.index]:
                whole = prompts[chunk.prompt.index] + ids[:-1]
                followed += [whole[:n] for n in range(chunk.stop + 1, len(whole) + 1)]
        yield pack(step, prompts, continuations, prefix_slot=num_slots), followed, prefix
        prefix = prompts[step.chunks[-1].prompt.index][: step.num_kept]


def ids_at(keys: KeyRanges, batch: PrefillBatch, prefix: Ids) -> Ids:
    ids = prefix[: batch.num_prefix] + tuple(batch.ids)
    return tuple(ids[key] for piece in keys for key in piece)


@given(prompts, st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
def test_every_token_sees_exactly_what_precedes_it(
    prompts: list[Ids], prefill_tokens: int, num_slots: int, seed: int
) -> None:
    dice = random.Random(seed)
    continuations: list[list[Ids]] = [
        [tuple(dice.choices(range(9), k=dice.randint(1, 4))) for _ in range(3)]
        if dice.random() < 0.3
        else []
        for _ in prompts
    ]
    seen_prompts = []
    for batch, followed, prefix in batches_of(prompts, continuations, prefill_tokens, num_slots):
        whole: dict[int, Ids] = {}
        for span in batch.spans:
            before = ids_at(span.context, batch, prefix)
            assert batch.positions[span.tokens.start] == len(before)
            for count, token in enumerate(span.tokens, 1):
                whole[token] = before + tuple(
                    batch.ids[span.tokens.start : span.tokens.start + count]
                )
                assert batch.positions[token] == len(whole[token]) - 1
        outputs = [token for output in batch.outputs for token in output]
        assert [whole[token] for token in outputs] == followed
        for slot, keys in batch.copies:
            ids = ids_at(keys, batch, prefix)
            assert ids in prompts or slot == num_slots
        seen_prompts += [whole[output[0]] for output in batch.outputs if output]
    assert sorted(seen_prompts) == sorted(prompts)


@given(prompts, st.integers(1, 40))
def test_a_group_has_all_keys_that_its_spans_see(prompts: list[Ids], prefill_tokens: int) -> None:
    nothing: list[Sequence[Ids]] = [()] * len(prompts)
    for batch, _, _ in batches_of(prompts, nothing, prefill_tokens, 20):
        groups = list(batch.groups())
        assert [span for group in groups for span in group.spans] == batch.spans
        for group in groups:
            at_hand = {key for piece in group.context for key in piece}
            at_hand |= {batch.num_prefix + token for token in group.tokens}
            for span in group.spans:
                assert {key for piece in span.context for key in piece} <= at_hand


def test_groups_are_small_and_unrelated_spans_stay_apart() -> None:
    related = [(1, 2, 3, *[n] * 20) for n in range(100)]
    unrelated = [(n, *[200] * 89) for n in range(200, 210)]
    prompts: list[Ids] = [*related, *unrelated]
    nothing: list[Sequence[Ids]] = [()] * len(prompts)
    [(batch, _, _)] = batches_of(prompts, nothing, 10_000, 200)
    groups = list(batch.groups())
    assert max(len(group.tokens) for group in groups) <= GROUP_TOKENS
    for group in groups:
        starts = {batch.ids[span.tokens.start] for span in group.spans}
        assert len(starts) == 1 or not starts & set(range(200, 210))
    assert len(groups) < len(related) / 2 + len(unrelated)


def test_first_keys_end_within_and_between_ranges() -> None:
    keys = (range(3), range(7, 9), range(20, 21))
    assert first_keys(keys, 6) == keys
    assert first_keys(keys, 5) == (range(3), range(7, 9))
    assert first_keys(keys, 4) == (range(3), range(7, 8))
    assert first_keys(keys, 0) == ()

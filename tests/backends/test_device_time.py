"""Device time of the rows of a batch: it adds up, and who waits for others pays nothing for it."""

from __future__ import annotations

import pytest

from vlmbench.backends.decoding import Watch


def test_a_batch_is_divided_by_those_that_are_at_work() -> None:
    """Three rows; prefill 6 s, then the rows end 1 s, 3 s and 3 s later, and 0.3 s are left."""
    watch = Watch([9, 9, 9], [0], [], str)
    watch.first_token_at = 106.0
    for row, finished_at in zip(watch.rows, (107.0, 109.0, 109.0), strict=True):
        row.finished_at = finished_at
    parts = watch.shares(100.0, 109.3)
    assert parts == pytest.approx([2 + 1 / 3 + 0.1, 2 + 1 / 3 + 1 + 0.1, 2 + 1 / 3 + 1 + 0.1])
    assert sum(parts) == pytest.approx(9.3)


def test_a_row_that_was_never_finished_is_at_work_to_the_end() -> None:
    watch = Watch([9, 9], [0], [], str)
    watch.first_token_at = watch.rows[0].finished_at = 1.0
    assert watch.shares(0.0, 3.0) == pytest.approx([0.5, 0.5 + 2.0])

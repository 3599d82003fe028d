"""Made work has the shape of the tasks that it stands for."""

from __future__ import annotations

import pytest

from vlmbench.backends.bench.workloads import ONE_QUESTION, SHAPES, draw, picture, shape_of


@pytest.mark.parametrize(
    ("name", "mean"),
    [("vqav2", 5.29), ("textvqa", 1.58), ("docvqa", 4.16), ("mathvista", 1.0), ("mmbench", 3.72)],
)
def test_questions_a_picture_are_those_of_the_task(name: str, mean: float) -> None:
    """Published means, within a twentieth."""
    questions = draw(shape_of(name), 20, scale=0.1)
    assert len(questions) / 20 == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize("name", [*SHAPES, ONE_QUESTION])
def test_questions_about_a_picture_come_together_and_all_differ(name: str) -> None:
    questions = draw(shape_of(name), 5, scale=0.1)
    order = [question.pictures for question in questions]
    assert len(set(order)) == 5
    assert order == sorted(order, key=order.index)
    assert len({(question.pictures, question.text) for question in questions}) == len(questions)


def test_rotations_share_everything_before_their_options() -> None:
    questions = draw(shape_of("mmbench"), 1, scale=0.1)
    stems = {question.text.partition("\n")[0] for question in questions}
    assert len(stems) == 1
    options = [
        {line.partition(". ")[2] for line in question.text.split("\n")[1:5]}
        for question in questions
    ]
    assert all(one == options[0] for one in options)


def test_the_same_seed_draws_the_same() -> None:
    assert draw(shape_of("mmmu"), 3, 7, 0.1) == draw(shape_of("mmmu"), 3, 7, 0.1)
    assert draw(shape_of("mmmu"), 3, 7, 0.1) != draw(shape_of("mmmu"), 3, 8, 0.1)


@pytest.mark.parametrize("is_page", [False, True])
def test_a_picture_has_its_size(is_page: bool) -> None:
    assert picture(61, 47, 3, is_page).decode().size == (61, 47)

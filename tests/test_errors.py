"""Unknown names: what the message offers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vlmbench.errors import hub_reason, no_such


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("textvqq", "did you mean textvqa?"),
        ("TextVQA", "did you mean textvqa?"),
        ("VISTA", "did you mean MathVista?"),
        ("zebra", "there are: MathVista, docvqa, textvqa, vqav2"),
        ("x", "there are: MathVista, docvqa, textvqa, vqav2"),
        ("", "there are: MathVista, docvqa, textvqa, vqav2"),
    ],
)
def test_the_names_that_look_like_it_are_offered(name: str, hint: str) -> None:
    names = ["vqav2", "textvqa", "docvqa", "MathVista"]
    assert str(no_such("task", name, names)) == f"no task named {name!r}; {hint}"


def test_the_place_stands_behind_the_name() -> None:
    error = no_such("split", "dev", ["dev-en", "test"], "of mmbench")
    assert str(error) == "no split named 'dev' of mmbench; did you mean dev-en?"


def test_of_many_names_the_first_are_listed() -> None:
    error = str(no_such("row", "?", [f"row {number:03}" for number in range(80)]))
    assert "row 000, row 001," in error
    assert error.endswith("row 049, and 30 more")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "the hub refuses the token (401)"),
        (403, "the hub denies access (403)"),
        (429, "the hub limits the rate (429)"),
        (503, "the hub fails (HTTP 503)"),
        (404, "cannot find the requested files"),
    ],
)
def test_the_hubs_errors_have_names_however_deep_they_lie(status: int, reason: str) -> None:
    answer = OSError("Client error")
    answer.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    error = OSError("cannot find the requested files\non the hub")
    error.__cause__ = answer
    assert hub_reason(error).startswith(reason)

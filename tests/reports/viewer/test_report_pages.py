"""The report in a real browser, opened from disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from vlmbench.reports.viewer import Report, build

HEADING = "document.querySelector('.sample h2')?.textContent"


@pytest.fixture
def opened(chromium: Any, report: Report) -> Iterator[Callable[..., Any]]:
    """A function: the address's fragment -> a fresh tab there. Each must end without an error."""
    pages = []

    def open_at(fragment: str = "", **size: int) -> Any:
        pages.append(chromium.page(report.page.as_uri() + fragment, **size))
        return pages[-1]

    yield open_at
    for page in pages:
        assert not page.troubles()
        assert page.text("#status") == ""
        folder = report.page.parent.as_uri()
        assert {url for url in page.requests() if not url.startswith(f"{folder}/")} == set()
        page.close()


def ids(page: Any) -> list[str]:
    found: list[str] = page.value("Array.from(browser.rows, (at) => browser.table.ids[at])")
    return found


def records(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:  # splitlines() would also split at U+2028
        return [json.loads(line) for line in lines]


def scores(run: Path, task: str) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in records(run / f"scores-{task}.jsonl")}


def test_the_board_has_every_run_and_leads_to_the_samples(
    opened: Callable[..., Any], two_runs: list[Path]
) -> None:
    page = opened()
    page.until("document.querySelectorAll('.board tbody tr').length === 2")
    values = [
        record["value"]
        for record in scores(two_runs[0], "vqav2@validation").values()
        if record["value"] is not None
    ]
    assert page.text(".board strong") == f"{100 * sum(values) / len(values):.2f}"
    assert "2 failed" in page.text(".board td")
    page.click(".board td a")
    page.until("document.querySelectorAll('.row').length === 12")


def test_wrong_answers_are_listed_and_one_is_seen_with_its_picture(
    opened: Callable[..., Any], two_runs: list[Path]
) -> None:
    page = opened("#/first/vqav2%40validation")
    page.until("browser?.rows")
    page.choose("show", "wrong")
    page.until("location.hash.includes('show=wrong')")
    found = scores(two_runs[0], "vqav2@validation")
    wrong = [id for id, record in found.items() if record["value"] == 0]
    page.until(f"browser.rows.length === {len(wrong)}")
    assert sorted(ids(page)) == sorted(wrong)
    page.click(".row:nth-child(2)")
    page.until(f"{HEADING} === {json.dumps(ids(page)[1])}")
    page.until("document.querySelector('.pictures img')?.naturalWidth > 0")
    page.press("p")
    page.until("document.querySelector('#picture[open] img')?.naturalWidth > 0")
    page.press("Escape")
    page.until("!document.querySelector('dialog[open]')")


def test_a_permalink_leads_to_the_same_place_in_a_fresh_tab(opened: Callable[..., Any]) -> None:
    page = opened("#/first/mmmu%40validation")
    page.until("browser?.rows")
    page.choose("show", "partly")
    page.choose("category", "subject:Art")
    page.choose("sort by", "length")
    page.until("browser.rows.length === 2")
    page.click(".row:last-child")
    page.until(f"{HEADING} === {json.dumps(ids(page)[-1])}")
    again = opened(page.value("location.hash"))
    again.until(f"{HEADING} === {json.dumps(ids(page)[-1])}")
    assert ids(again) == ids(page)
    assert again.value("location.hash") == page.value("location.hash")
    again.call("Page.reload")
    again.until(f"{HEADING} === {json.dumps(ids(page)[-1])}")


def test_keys_move_search_and_close(opened: Callable[..., Any], two_runs: list[Path]) -> None:
    page = opened("#/first/vqav2%40validation")
    page.until(HEADING)
    every = ids(page)
    for key, place in (("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0), ("k", 0)):
        page.press(key)
        page.until(f"{HEADING} === {json.dumps(every[place])}")
    page.press("/")
    for letter in "The ANSWER is (c)":
        page.press(letter)
    found = [
        record["id"]
        for record in records(two_runs[0] / "responses-0.jsonl")
        if record["task"] == "vqav2@validation"
        and "The answer is (C)" in (record["response"] or "")
    ]
    page.until(f"browser.rows.length === {len(found)} && location.hash.includes('q=')")
    assert sorted(ids(page)) == sorted(found)
    page.press("Escape")
    page.until("document.activeElement === document.body")
    page.press("?")
    page.until("document.querySelector('#help[open]')")
    page.press("Escape")
    page.until("!document.querySelector('dialog[open]')")
    page.press("Escape")
    page.until("document.querySelector('.board')")


def test_two_runs_are_told_apart(opened: Callable[..., Any], two_runs: list[Path]) -> None:
    task = "vqav2@validation"
    first, second = (scores(run, task) for run in two_runs)
    page = opened(f"#/second/{quote(task, safe='')}?vs=first&diff=answer")
    page.until("browser?.rows")
    differ = [id for id in second if first[id].get("parsed") != second[id].get("parsed")]
    assert 0 < len(differ) < len(second)
    assert sorted(ids(page)) == sorted(differ)
    page.choose("compare", "worse")
    worse = [
        id
        for id in second
        if first[id]["value"] is not None and second[id]["value"] < first[id]["value"]
    ]
    assert 0 < len(worse) < len(differ)
    page.until(f"browser.rows.length === {len(worse)}")
    assert sorted(ids(page)) == sorted(worse)
    page.until("document.querySelector('.beside')")


def test_a_sample_still_on_its_way_does_not_hide_that_none_passes(
    opened: Callable[..., Any],
) -> None:
    page = opened("#/first/vqav2%40validation")
    page.until(HEADING)
    page.value("browser.set({ show: 'right' }); browser.set({ show: 'partly' })")
    page.until("browser.rows.length === 0")
    page.value("new Promise((resolve) => setTimeout(resolve, 200))")
    assert page.text(".sample") == "No sample passes these filters."


@pytest.mark.parametrize("task", ["mmbench@dev-en", "mmmu@validation"])
def test_every_sample_can_be_shown(opened: Callable[..., Any], task: str) -> None:
    page = opened(f"#/first/{quote(task, safe='')}?vs=second")
    page.until(HEADING)
    for id in ids(page):
        page.until(f"{HEADING} === {json.dumps(id)}")
        assert page.value("document.querySelectorAll('.pictures img').length") > 0
        page.press("j")


def test_a_sample_that_a_new_filter_hides_gives_way(opened: Callable[..., Any]) -> None:
    page = opened("#/first/vqav2%40validation?show=right")
    page.until(HEADING)
    page.press("j")
    page.until("browser.place.id !== undefined")
    page.press("w")
    page.until("browser.place.filters.show === 'wrong' && browser.place.id === undefined")
    page.until(f"{HEADING} === browser.table.ids[browser.rows[0]]")


@pytest.mark.parametrize("task", ["vqav2@validation", "mmbench@dev-en"])
def test_hostile_text_is_shown_and_never_run(
    opened: Callable[..., Any], hostile: str, task: str
) -> None:
    page = opened(f"#/first/{quote(task, safe='')}?q={quote('onerror')}")
    page.until("document.querySelector('.response-text')")
    assert page.text(".response-text") == hostile
    assert page.value("window.wasRun === undefined")
    assert page.value("document.querySelectorAll('.sample script, .row img').length") == 0


def test_line_breaks_and_right_to_left_text_are_shown(
    opened: Callable[..., Any], hebrew: str
) -> None:
    page = opened(f"#/first/vqav2%40validation?q={quote(hebrew[:4])}")
    page.until("document.querySelector('.response-text')")
    assert page.text(".response-text") == hebrew
    node = "getComputedStyle(document.querySelector('.response-text'))"
    assert page.value(f"{node}.whiteSpace + {node}.direction") == "pre-wraprtl"


def test_the_policy_stops_inline_code_and_the_network(chromium: Any, report: Report) -> None:
    page = chromium.page(report.page.as_uri())
    page.until("document.querySelector('.board')")
    page.value(
        "{ const s = document.createElement('script'); s.textContent = 'window.wasRun = 1';"
        "document.body.append(s); const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; }"
    )
    page.until("document.querySelector('.board')")
    assert page.value("window.wasRun === undefined")
    assert (
        len([trouble for trouble in page.troubles() if "Content Security Policy" in trouble]) == 2
    )
    page.close()


def test_a_split_without_public_answers_shows_its_samples(opened: Callable[..., Any]) -> None:
    page = opened("#/first/docvqa%40test")
    page.until("document.querySelector('.response-text')")
    assert page.value("document.querySelectorAll('.verdicts').length") == 0
    assert "no score" in page.text(".row:nth-child(1)")


@pytest.mark.parametrize("width", [360, 820, 3840])
def test_nothing_is_wider_than_the_window(opened: Callable[..., Any], width: int) -> None:
    page = opened("", width=width)
    page.until("document.querySelector('.board')")
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not page.value(wide)
    page.value("location.hash = '#/first/mmmu%40validation/validation_Art_902?vs=second'")
    page.until("document.querySelector('.verdicts')")
    assert not page.value(wide)
    pane = "document.querySelector('.sample')"
    assert not page.value(f"{pane}.scrollWidth > {pane}.clientWidth")


def test_without_the_data_set_answers_are_shown_and_the_way_to_the_rest(
    chromium: Any, two_runs: list[Path], tmp_path: Path
) -> None:
    bare = build([two_runs[0]], tmp_path / "report", has_plots=False)
    assert "vlmbench fetch vqav2@validation" in bare.notes[0]
    page = chromium.page(bare.page.as_uri())
    page.until("document.querySelector('.board')")
    assert "vlmbench fetch vqav2@validation" in page.text("main")
    page.value("location.hash = '#/first/vqav2%40validation'")
    page.until("document.querySelector('.sample .missing')")
    assert "pictures are missing" in page.text(".sample .missing")
    assert not page.troubles()
    page.close()

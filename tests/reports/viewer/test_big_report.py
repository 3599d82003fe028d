"""A hundred thousand samples: the list stays small and the search finds one."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from vlmbench.reports.viewer import Report, chunks

NUM_SAMPLES = 100_000
NEEDLE = 77_777


@pytest.fixture(scope="module")
def big_page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a task's samples, all of them made, in a copy of the report."""
    folder = tmp_path_factory.mktemp("big") / "report"
    shutil.copytree(report.page.parent, folder)
    data = folder / "data"
    content = json.loads((data / "report.js").read_text("utf-8")[len('deliver("report", ') : -3])
    task = content["runs"][0]["tasks"][0]
    detail = json.loads(
        (data / "0-0/detail-0.js").read_text("utf-8")[len('deliver("0-0/detail-0", ') : -3]
    )
    files = chunks.TaskFiles(data, "0-0")
    for number in range(NUM_SAMPLES):
        index = {"id": str(number), "score": number % 3 / 2, "flags": 0, "length": number % 50}
        index |= {"latency": number / 7, "answer": number, "categories": [number % 2]}
        response = "the needle" if number == NEEDLE else f"hay {number}"
        files.add(index, [f"How much {number}?", response, ["gold"]], detail[0])
    task |= {"samples": NUM_SAMPLES, "chunks": files.close()}
    chunks.write(data, "report", content)
    return f"{(folder / 'index.html').as_uri()}#/first/vqav2%40validation"


def test_only_rows_in_sight_are_in_the_document(chromium: Any, big_page: str) -> None:
    page = chromium.page(big_page)
    page.until("document.querySelector('.row .question')?.textContent")
    assert page.text(".count") == "100,000 of 100,000 samples"
    for share in (0.3, 0.77, 1):
        page.value(f"{{ const l = browser.list.node; l.scrollTop = {share} * l.scrollHeight }}")
        drawn = "document.getElementById(`row-${Math.ceil(browser.list.firstRow)}`)"
        page.until(f"browser.list.firstRow > {share * NUM_SAMPLES - 1000} && {drawn}")
        page.until("[...document.querySelectorAll('.row .question')].every((q) => q.textContent)")
        assert page.value("document.querySelectorAll('.row').length") < 40
        assert page.value("document.querySelectorAll('*').length") < 500
    shown = "[...document.querySelectorAll('.row-id')].map((id) => id.textContent)"
    page.until(f"{shown}.includes('{NUM_SAMPLES - 1}')")
    assert not page.troubles()
    page.close()


def test_a_search_over_all_finds_the_one(chromium: Any, big_page: str) -> None:
    page = chromium.page(f"{big_page}?q=NEEDLE")
    page.until("document.querySelector('.count').textContent === '1 of 100,000 samples'")
    page.until(f"document.querySelector('.sample h2')?.textContent === '{NEEDLE}'")
    page.close()


def test_filters_and_order_hold_for_all(chromium: Any, big_page: str) -> None:
    page = chromium.page(f"{big_page}?show=right&sort=latency&desc=1")
    page.until("document.querySelector('.count').textContent === '33,333 of 100,000 samples'")
    page.until("document.querySelector('.sample h2')?.textContent === '99998'")
    page.close()

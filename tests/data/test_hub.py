"""Splits come from the hub as users get them: ids that moved, caches, and all that goes wrong."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Copy = Callable[..., Path]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TASK = """
from vlmbench import data
from vlmbench.task import Task, loading

built_in = loading.find({task!r})
TASK = Task(
    name="small",
    version=1,
    title="A small copy",
    metric=built_in.metric,
    splits=(
        data.Split(
            name={split!r},
            sources=({sources}),
            size={size},
            answers="public",
            columns=built_in.splits[0].columns,
        ),
    ),
    read=built_in.read,
    score=built_in.score,
    form=built_in.form,
)
"""
OLD_AND_NEW = """
    data.Hub(id="new-home/textvqa", files="data/validation", revision="main"),
    data.Hub(id="old-home/textvqa", files="data/validation", revision="main"),
"""


@pytest.fixture
def tasks_dir(tmp_path: Path) -> Callable[..., Path]:
    """A function: a folder with the task "small", which is a built-in one from other sources."""

    def write(
        sources: str = OLD_AND_NEW,
        *,
        task: str = "textvqa",
        split: str = "validation",
        size: Any = 12,
    ) -> Path:
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        text = TASK.format(task=task, split=split, sources=sources, size=size)
        (folder / "small.py").write_text(text, encoding="utf-8")
        return folder

    return write


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of a user's mistake; progress lines say what is being got."""
    assert result.returncode == 2, result
    lines = [s for s in result.stderr.splitlines() if not s.startswith("vlmbench: getting ")]
    assert len(lines) == 1 and lines[0].startswith("vlmbench: "), result.stderr
    return lines[0]


def test_the_id_that_has_the_data_is_recorded_and_its_cache_serves_offline(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy, tasks_dir: Callable[..., Path]
) -> None:
    fake_hub.add("old-home/textvqa", hub_copy("textvqa"), COMMIT)
    fetched = vlmbench("fetch", "small", "--tasks-dir", tasks_dir())
    expected = f"small@validation: 12 rows from old-home/textvqa at {COMMIT}\n"
    assert (fetched.returncode, fetched.stdout) == (0, expected), fetched
    assert fake_hub.downloads() == ["data/validation-00000-of-00001.parquet"]

    fake_hub.requests.clear()
    for environment in ({"HF_DATASETS_OFFLINE": "1"}, {}):
        loaded = vlmbench("load", "small", "--tasks-dir", tasks_dir(), **environment)
        assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, expected, "")
    assert not [request for request in fake_hub.requests if "textvqa" in request]


def test_a_split_may_lie_in_many_folders(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy, tasks_dir: Callable[..., Path], tmp_path: Path
) -> None:
    """MMMU's first home has a folder a subject."""
    for subject, split in (("Art", "validation"), ("Music", "train")):
        (file,) = hub_copy("textvqa", split).rglob("*.parquet")
        for name in ("dev", "validation"):
            path = tmp_path / "repository" / subject / f"{name}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read_bytes())
    fake_hub.add("MMMU/MMMU", tmp_path / "repository", COMMIT)
    source = "data.Hub(id='MMMU/MMMU', files='*/validation', revision='main'),"
    fetched = vlmbench("fetch", "small", "--tasks-dir", tasks_dir(source, size=24))
    assert fetched.stdout.startswith("small@validation: 24 rows"), fetched
    assert fake_hub.downloads() == [
        "Art/validation-00000-of-00001.parquet",
        "Music/validation-00000-of-00001.parquet",
    ]


def test_offline_without_a_cache_names_the_command_that_fetches(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy
) -> None:
    fake_hub.add("lmms-lab/textvqa", hub_copy("textvqa"), COMMIT)
    line = only_line(vlmbench("load", "textvqa", HF_DATASETS_OFFLINE="1"))
    assert "vlmbench fetch textvqa@validation" in line and "--data-dir" in line
    assert "lmms-lab-encoder/textvqa (not cached, and offline)" in line
    assert fake_hub.requests == []


def test_another_splits_cache_does_not_count(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy, tasks_dir: Callable[..., Path]
) -> None:
    fake_hub.add("old-home/textvqa", hub_copy("textvqa"), COMMIT)
    vlmbench("fetch", "small", "--tasks-dir", tasks_dir())
    other = tasks_dir(OLD_AND_NEW.replace("validation", "test"), split="test")
    ran = vlmbench("fetch", "small", "--tasks-dir", other, HF_DATASETS_OFFLINE="1")
    assert "vlmbench fetch small@test" in only_line(ran)


def test_every_id_that_was_tried_is_named_with_its_reason(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy, tasks_dir: Callable[..., Path]
) -> None:
    fake_hub.add("gated/textvqa", hub_copy("textvqa"), COMMIT, gated=True)
    fake_hub.add("empty/textvqa", hub_copy("docvqa"), COMMIT)
    fake_hub.add("stale/textvqa", hub_copy("textvqa"), COMMIT)
    ids = {"gone": "main", "gated": "main", "empty": "main", "stale": "f" * 40}
    sources = "".join(
        f"data.Hub(id='{id}/textvqa', files='data/validation', revision={revision!r}),"
        for id, revision in ids.items()
    )
    line = only_line(vlmbench("fetch", "small", "--tasks-dir", tasks_dir(sources)))
    assert "gone/textvqa (no such repository)" in line
    assert "gated/textvqa (gated: accept its terms on the hub and log in)" in line
    assert "empty/textvqa (no files data/validation-*.parquet in it)" in line
    assert f"stale/textvqa (no revision {'f' * 40})" in line


def test_a_wrong_number_of_rows_is_an_error(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy, tasks_dir: Callable[..., Path]
) -> None:
    fake_hub.add("old-home/textvqa", hub_copy("textvqa"), COMMIT)
    line = only_line(vlmbench("fetch", "small", "--tasks-dir", tasks_dir(size=5_000)))
    assert f"old-home/textvqa at {COMMIT} has 12 rows" in line
    assert "small@validation has 5,000" in line


def test_missing_columns_are_an_error_when_the_data_is_fetched(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy, tasks_dir: Callable[..., Path]
) -> None:
    fake_hub.add("old-home/textvqa", hub_copy("mmmu"), COMMIT)
    line = only_line(vlmbench("fetch", "small", "--tasks-dir", tasks_dir()))
    assert "old-home/textvqa lacks the columns question_id, image_id, answers, image" in line


def test_a_broken_file_is_named_and_can_be_fetched_again(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy, tasks_dir: Callable[..., Path], tmp_path: Path
) -> None:
    fake_hub.add("old-home/textvqa", hub_copy("textvqa"), COMMIT)
    vlmbench("fetch", "small", "--tasks-dir", tasks_dir())
    (cached,) = (tmp_path / "cache").rglob("validation-*.parquet")
    content = cached.read_bytes()
    cached.write_bytes(b"PAR1" + bytes(1000) + content[1004:])
    line = only_line(vlmbench("load", "small", "--tasks-dir", tasks_dir()))
    assert cached.name in line and "vlmbench fetch --force small@validation" in line
    fetched = vlmbench("fetch", "--force", "small", "--tasks-dir", tasks_dir())
    assert fetched.returncode == 0, fetched


def test_a_download_that_breaks_off_is_one_line(
    fake_hub: Any, vlmbench: Command, hub_copy: Copy, tasks_dir: Callable[..., Path]
) -> None:
    fake_hub.add("old-home/textvqa", hub_copy("textvqa"), COMMIT)
    fake_hub.cut_off = True
    result = vlmbench("fetch", "small", "--tasks-dir", tasks_dir())
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "vlmbench fetch small@validation" in result.stderr.splitlines()[-1]


@pytest.fixture
def sheet(hub_copy: Copy, made_rows: Any) -> bytes:
    """MMBench's rows as the official tsv has them."""
    import base64

    import pandas

    rows = made_rows("mmbench", "dev-en")
    for row in rows:
        row["l2-category"] = row.pop("L2-category")
        row["image"] = base64.b64encode(row["image"]["bytes"]).decode()
    table = pandas.DataFrame(rows).replace("nan", None)
    return table.to_csv(sep="\t", index=False).encode()


def test_an_official_file_is_checked_by_its_sum_and_served_offline(
    fake_hub: Any, vlmbench: Command, sheet: bytes, tasks_dir: Callable[..., Path]
) -> None:
    fake_hub.plain_files["/MMBench_DEV_EN.tsv"] = sheet
    address = f"{fake_hub.address}/MMBench_DEV_EN.tsv"
    md5 = hashlib.md5(sheet).hexdigest()

    def folder(md5: str) -> Path:
        source = f"data.Url(url={address!r}, md5={md5!r}),"
        return tasks_dir(source, task="mmbench", split="dev", size=None)

    line = only_line(vlmbench("fetch", "small", "--tasks-dir", folder("0" * 32)))
    assert f"{address} (its MD5 sum is {md5}, expected {'0' * 32})" in line

    fetched = vlmbench("fetch", "small", "--tasks-dir", folder(md5))
    assert fetched.stdout == f"small@dev: 13 rows from {address} at md5:{md5}\n", fetched
    fake_hub.requests.clear()
    loaded = vlmbench("load", "small", "--tasks-dir", folder(md5), HF_DATASETS_OFFLINE="1")
    assert loaded.stdout == fetched.stdout and fake_hub.requests == [], loaded


def test_an_official_file_that_is_gone_or_cut_off_is_named(
    fake_hub: Any, vlmbench: Command, sheet: bytes, tasks_dir: Callable[..., Path]
) -> None:
    address = f"{fake_hub.address}/MMBench_DEV_EN.tsv"
    source = f"data.Url(url={address!r}, md5={hashlib.md5(sheet).hexdigest()!r}),"
    folder = tasks_dir(source, task="mmbench", split="dev", size=None)
    assert f"{address} (HTTP Error 404" in only_line(
        vlmbench("fetch", "small", "--tasks-dir", folder)
    )
    fake_hub.plain_files["/MMBench_DEV_EN.tsv"] = sheet
    fake_hub.cut_off = True
    assert address in only_line(vlmbench("fetch", "small", "--tasks-dir", folder))

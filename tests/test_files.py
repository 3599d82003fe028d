"""Files that the user names for a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlmbench.files import OutputFile, put


def test_a_link_is_written_through_and_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before, and longer")
    link.symlink_to(target)
    put("after", link)
    assert target.read_text() == "after" and link.is_symlink()


def test_what_ends_badly_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "board.md"
    path.write_text("before")
    with pytest.raises(KeyError), OutputFile(path) as output:
        output.write(b"half")
        raise KeyError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]

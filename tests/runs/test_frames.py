"""What a worker process writes to its parent."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
from vlmbench.runs.executors.worker import Frames

frames = Frames()
print("a library's own words")
frames.noticed("one\\ntwo")
frames.used(b"{}\\n")
"""


def test_a_notice_of_several_lines_is_one_frame_and_prints_are_none() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, check=True, env=dict(os.environ))
    assert done.stdout == b"None two\nU{}\n"

"""What the engine asks of the C library."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource
from idefics2.engine.limits import keep_freed_memory

def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        held = [bytes([1]) * 2**23 for _ in range(12)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
keep_freed_memory()
faults()  # the heap grows
print(faults())
"""
PAGES = 3 * 12 * 2**23 // resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("is_set", [False, True], ids=["free to choose", "set by the user"])
def test_freed_memory_is_used_again(is_set: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    if is_set:
        monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(2**20))
    shown = subprocess.check_output([sys.executable, "-c", FAULTS], text=True)
    before, after = map(int, shown.split())
    assert before > PAGES / 2
    assert after > PAGES / 2 if is_set else after < PAGES / 20

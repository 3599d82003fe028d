"""What the engine asks of the C library."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource
from idefics2.engine.memory import freed_memory_kept

def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        held = [bytes([1]) * 2**23 for _ in range(12)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with freed_memory_kept():
    faults()  # the heap grows
    print(faults())
print(faults())
"""
PAGES = 3 * 12 * 2**23 // resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("is_set", [False, True], ids=["free to choose", "set by the user"])
def test_freed_memory_is_used_again(is_set: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    if is_set:
        monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(2**20))
    shown = subprocess.check_output([sys.executable, "-c", FAULTS], text=True)
    within, after = map(int, shown.split())
    assert after > PAGES / 4
    assert within > PAGES / 4 if is_set else within < PAGES / 20

"""What a run records of itself, so that its numbers can be trusted and made again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from vlmbench import __version__
from vlmbench.runs.folder.manifest import SCHEMA_VERSION

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "pillow", "numpy", "accelerate")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment(command: Sequence[str]) -> dict[str, Any]:
    """Versions, commit, hardware and command line; no environment variable, so no key."""
    return {
        "schema_version": SCHEMA_VERSION,
        "vlmbench": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": _versions(),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "processor": _processor(),
            "num_cpus": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        },
        "command": list(command),
    }


def parent_started() -> float | None:
    """When the process that started this one began, in seconds since 1970.

    Of a launcher that is before any of its processes on this machine logged a sample. None: there
    is no such process, as in a container of its own, or the system does not tell.
    """
    if os.getppid() == 0 or not Path("/proc/stat").exists():
        return None
    stat = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8")
    ticks = int(stat.rpartition(")")[2].split()[19])  # field 22, proc(5)
    for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    raise OSError("/proc/stat has no btime")


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The commit of the checkout that runs, with "+changes" where it differs; None in a wheel."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()

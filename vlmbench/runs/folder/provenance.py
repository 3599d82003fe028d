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

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "pillow", "numpy", "accelerate")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment(command: Sequence[str]) -> dict[str, Any]:
    """Fields of a `Manifest`: versions, commit, hardware, command; no environment variable."""
    return {
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
        "command": tuple(command),
    }


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

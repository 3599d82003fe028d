"""Starts the processes of a data-parallel training on one machine.

`torchrun` starts them too, and this loop exists for what it lacks: its workers outlive a launcher
that is killed and would write into the folder of the training started again; its exit code is 1
whatever a worker's was; and it prints a traceback of its own after a worker's one-line error.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence


def run_together(command: Sequence[str], num_processes: int) -> int:
    """Runs Python with these arguments in each process; returns the first exit code above 0.

    Processes learn their rank from the variables that torchrun sets. Cores are divided among them:
    on a CPU two processes of one thread each were faster by half than one process of two threads.
    If one fails, the others are terminated. An interrupt reaches all of them.
    """
    threads = max(1, (os.cpu_count() or 1) // num_processes)
    shared = {
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    running = [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            preexec_fn=_end_with_parent,
        )
        for rank in range(num_processes)
    ]
    try:
        while None in (codes := [process.poll() for process in running]):
            if failed := [code for code in codes if code]:
                return abs(failed[0])
            time.sleep(0.2)
    finally:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait()
    return max(abs(int(process.returncode)) for process in running)


def _end_with_parent() -> None:
    """Has Linux kill this process when its parent ends."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

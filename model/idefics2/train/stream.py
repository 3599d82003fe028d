"""Batches of a stage by step, drawn in this process or prefetched by others.

A step's samples depend on its number alone, so that training resumes at any step, with any number
of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from queue import Empty, Full
from typing import Any

import torch

from idefics2.train.objectives import Batch, Encoded, Reader
from idefics2.train.recipe import Stage

PATIENCE_S = 5.0
"""Seconds after which a waiting process checks that the other is alive."""


@dataclass(frozen=True, slots=True)
class Share:
    """This process's rank among those that train."""

    rank: int = 0
    num_processes: int = 1


def batches_of(stage: Stage, reader: Reader, step: int, share: Share) -> list[Batch]:
    """This process's micro-batches of one step.

    Samples of similar sizes are batched: their pictures are then attended to in few batches.
    """
    first = step * stage.batch_size
    indices = range(first + share.rank, first + stage.batch_size, share.num_processes)
    examples: list[Encoded] = [reader.encode(stage.draw(index), index) for index in indices]
    examples.sort(key=lambda example: (example.grid, example.num_tokens))
    return [reader.collate(group) for group in _fill(examples, stage)]


def _fill(examples: Sequence[Encoded], stage: Stage) -> list[list[Encoded]]:
    groups: list[list[Encoded]] = []
    tokens = patches = 0
    for example in examples:
        tokens, patches = tokens + example.num_tokens, patches + example.num_patches
        if not groups or tokens > stage.micro_tokens or patches > stage.micro_patches:
            groups.append([])
            tokens, patches = example.num_tokens, example.num_patches
        groups[-1].append(example)
    return groups


@contextmanager
def steps_from(
    stage: Stage, reader: Reader, share: Share, start: int
) -> Iterator[Iterator[list[Batch]]]:
    """Micro-batches of each step from `start` to the stage's end.

    Raises: RuntimeError with the traceback of a worker that failed.
    """
    if stage.workers == 0:
        yield (batches_of(stage, reader, step, share) for step in range(start, stage.num_steps))
        return
    context = multiprocessing.get_context("fork")  # `draw` may be a closure, which cannot be sent
    ahead = max(1, stage.buffer_steps // stage.workers)
    queues: list[Queue[bytes]] = [context.Queue(ahead) for _ in range(stage.workers)]
    workers = [
        context.Process(
            target=_work,
            args=(stage, reader, share, range(start + i, stage.num_steps, stage.workers), queue),
            daemon=True,
        )
        for i, queue in enumerate(queues)
    ]
    for worker in workers:
        worker.start()
    try:
        yield (
            _take(queues[i % stage.workers], workers[i % stage.workers])
            for i in range(stage.num_steps - start)
        )
    finally:
        for worker in workers:
            worker.kill()  # SIGTERM may mean something else to the process that it is a copy of
            worker.join()


def _take(queue: Queue[bytes], worker: Any) -> list[Batch]:
    while True:
        try:
            batches, error = pickle.loads(queue.get(timeout=PATIENCE_S))
            break
        except Empty:
            if not worker.is_alive():
                raise RuntimeError("a process that draws samples has died") from None
    if error:
        raise RuntimeError(f"drawing samples failed:\n{error}")
    found: list[Batch] = batches
    return found


def _work(
    stage: Stage, reader: Reader, share: Share, steps: Sequence[int], queue: Queue[bytes]
) -> None:
    torch.set_num_threads(1)
    parent = os.getppid()
    for step in steps:
        try:
            # As bytes: torch would pass tensors on as open files, which end with this process
            drawn = pickle.dumps((batches_of(stage, reader, step, share), ""))
        except Exception:  # somebody's `draw`; the training process raises it
            drawn = pickle.dumps(([], traceback.format_exc()))
        while True:
            try:
                queue.put(drawn, timeout=PATIENCE_S)
                break
            except Full:
                if os.getppid() != parent:  # the training process was killed
                    os._exit(1)

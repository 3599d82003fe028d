"""judge-*.jsonl: a line for each reply of a judge, so that nothing is asked of it twice."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import AbstractContextManager, closing
from pathlib import Path

from vlmbench import files
from vlmbench.errors import VlmbenchError
from vlmbench.files import writing
from vlmbench.schema import Response


def log_file(scores: Path) -> Path | None:
    """The log beside a scores file; None where the scores go to a device or a pipe."""
    if scores.exists() and not scores.is_file():
        return None
    return scores.with_name(f"judge-{scores.stem}.jsonl")


class JudgeLog:
    """Replies of judges by key, which is equal for one question to one model with one setting.

    A reply is written before the next is awaited, as one line: a killed process leaves whole lines,
    and a torn last one is cut off when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        """Raises: VlmbenchError where the file cannot be written, or another process has it."""
        self._path = path
        with self._writing():
            self._fd = files.own_file(path, os.O_RDWR | os.O_APPEND)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise VlmbenchError(
                f"another process is writing to {path}; wait for it, or name another --out"
            ) from None
        self._replies: dict[str, Response] = {}
        size, is_ours, line = 0, False, b""
        with closing(files.opened(path)) as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    size += len(line)
                    is_ours |= self._read(line)
        if line and not is_ours and not line.startswith(b'{"id":'):
            os.close(self._fd)
            raise VlmbenchError(f"{path} is no log of a judge's replies; name another --out")
        os.ftruncate(self._fd, size)

    def get(self, key: str) -> Response | None:
        """The reply to a question; None: it was not asked, or the judge failed on it."""
        return self._replies.get(key)

    def append(self, key: str, model: str, reply: Response) -> None:
        """Raises: VlmbenchError where the disk is full."""
        line = files.encode(
            {
                "id": reply.id.partition("/")[2],
                "response": reply.text,
                "finish_reason": reply.finish_reason,
                "error": reply.error,
                "attempt": reply.attempt,
                "prompt_tokens": reply.prompt_tokens,
                "generated_tokens": reply.generated_tokens,
                "judge": model,
                "key": key,
                "time": round(time.time(), 3),
            }
        )
        with self._writing():
            written = os.write(self._fd, line)
            if written < len(line):  # the disk is full: the rest raises
                os.write(self._fd, line[written:])

    def close(self) -> None:
        with self._writing():
            os.fsync(self._fd)
            os.close(self._fd)

    def _read(self, line: bytes) -> bool:
        """True for a reply's line; another counts as never written: its question is asked again."""
        try:
            record = files.decode(line)
            reply = Response(
                id=record["id"], text=record["response"], finish_reason=record["finish_reason"]
            )
            if isinstance(reply.text, str):
                self._replies[record["key"]] = reply
        except (ValueError, KeyError, TypeError):
            return False
        return True

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self._path, "the judge's replies")

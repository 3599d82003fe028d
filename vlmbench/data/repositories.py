"""Sources of a split's files: the hub, single official files, and what this machine draws."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from vlmbench.errors import hub_reason

TRUE = ("1", "ON", "YES", "TRUE")
"""What `datasets` takes for true in an environment variable."""

NOT_CACHED, NO_CONNECTION = "not cached, and offline", "no connection"
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Parquet files of a data set repository on the Hugging Face hub."""

    id: str
    files: str
    """The files' path less shard number and ending: "data/validation", "*/test" (any folder)."""

    revision: str
    """A full commit hash; "main" where none is known. The hash that was used is recorded."""

    @property
    def name(self) -> str:
        return self.id

    @property
    def pattern(self) -> str:
        return f"{self.files}-*.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """One official tsv file outside the hub, pinned by its MD5 sum."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        return self.url

    @property
    def files(self) -> str:
        return PurePosixPath(self.url).stem


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Scenes that `vlmbench.mini` draws on this machine, once; no network is needed."""

    scenes: str
    """The module that draws them: "docvqa"."""

    part: Literal["train", "test"] = "test"

    @property
    def name(self) -> str:
        return f"vlmbench.mini.{self.scenes}"

    @property
    def files(self) -> str:
        return f"{self.scenes}-{self.part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A split's files on this machine."""

    source: str
    """The repository's id or the file's address; which of several it was that had the data."""

    revision: str
    """The commit hash, or "md5:" or "sha256:" and the sum."""

    folder: Path
    files: tuple[Path, ...]


class NotAvailableError(Exception):
    """A source cannot be had now; the message is the reason."""


def is_here(sources: Sequence[Hub | Url | Drawn]) -> bool:
    """True if one of the sources is on this machine already."""
    for source in sources:
        try:
            if isinstance(source, Url):
                _official_file(source, True, False)
            elif isinstance(source, Hub):
                _hub_files(source, True, False)
        except NotAvailableError:
            continue
        return True
    return False


def locate(
    sources: Sequence[Hub | Url | Drawn], *, refresh: bool = False, force: bool = False
) -> Located:
    """The first source that is cached, else the first that can be downloaded.

    `refresh` asks the network first, so that "main" moves on; `force` also downloads what is there.

    Raises: NotAvailableError with every source's reason.
    """
    offline = is_offline()
    cache = [(source, True) for source in sources if offline or not refresh]
    network = [(source, False) for source in sources if not offline]
    reasons: dict[str, str] = {}
    for source, from_cache in cache + network:
        try:
            if isinstance(source, Drawn):
                return _drawn_file(source, force)
            if isinstance(source, Url):
                return _official_file(source, from_cache, force)
            if NO_CONNECTION in reasons.values():  # its client tries for half a minute
                raise NotAvailableError(NO_CONNECTION)
            return _hub_files(source, from_cache, force)
        except NotAvailableError as error:
            reasons[source.name] = str(error)
    raise NotAvailableError("; ".join(f"{name} ({reason})" for name, reason in reasons.items()))


def is_offline() -> bool:
    """True where the user said so in HF_DATASETS_OFFLINE or HF_HUB_OFFLINE."""
    names = ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE")
    return any(os.environ.get(name, "").upper() in TRUE for name in names)


def _hub_files(source: Hub, from_cache: bool, force: bool) -> Located:
    from logging import ERROR

    import huggingface_hub
    from huggingface_hub import errors, logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not from_cache:
        print(f"vlmbench: getting {source.pattern} of {source.id}", file=sys.stderr)
    if not sys.stderr.isatty():
        disable_progress_bars()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # what goes wrong is said below
    try:
        snapshot = huggingface_hub.snapshot_download(
            source.id,
            repo_type="dataset",
            revision=source.revision,
            allow_patterns=[source.pattern],
            local_files_only=from_cache,
            force_download=force and not from_cache,
        )
    except errors.GatedRepoError:
        raise NotAvailableError("gated: accept its terms on the hub and log in") from None
    except errors.RepositoryNotFoundError:
        raise NotAvailableError("no such repository") from None
    except errors.RevisionNotFoundError:
        raise NotAvailableError(f"no revision {source.revision}") from None
    except errors.LocalEntryNotFoundError as error:
        reason = hub_reason(error)  # its client takes an answer such as 429 for no connection
        is_answer = reason.startswith("the hub ")
        unreachable = reason if is_answer else NO_CONNECTION
        raise NotAvailableError(NOT_CACHED if from_cache else unreachable) from None
    except Exception as error:  # also those of its HTTP library, which is not always the same
        raise NotAvailableError(hub_reason(error)) from None
    finally:
        logging.set_verbosity(verbosity)
    folder = Path(snapshot)
    files = tuple(sorted(folder.glob(source.pattern)))
    if not files:
        raise NotAvailableError(f"no files {source.pattern} in it")
    return Located(source=source.name, revision=folder.name, folder=folder, files=files)


def _official_file(source: Url, from_cache: bool, force: bool) -> Located:
    from huggingface_hub import constants

    folder = Path(constants.HF_HOME) / "vlmbench"
    path = folder / f"{source.files}-{source.md5}.tsv"  # is there only once its sum was right
    if from_cache and not path.exists():
        raise NotAvailableError(NOT_CACHED)
    if not from_cache and (force or not path.exists()):
        _save(source, path)
    return Located(source=source.name, revision=f"md5:{source.md5}", folder=folder, files=(path,))


def _drawn_file(source: Drawn, force: bool) -> Located:
    from huggingface_hub import constants

    from vlmbench.data.mini import row_file

    folder = Path(constants.HF_HOME) / "vlmbench" / f"mini-{row_file.code_digest()}"
    path = folder / f"{source.files}.parquet"
    if force or not path.exists():
        try:
            row_file.write(source.scenes, source.part, path)
        except OSError as error:
            raise NotAvailableError(_first_line(error)) from None
    revision = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return Located(source=source.name, revision=revision, folder=folder, files=(path,))


def _save(source: Url, path: Path) -> None:
    import http.client
    import urllib.request

    print(f"vlmbench: getting {source.url}", file=sys.stderr)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(source.url, timeout=TIMEOUT_S) as response,
            partial.open("wb") as file,
        ):
            while block := response.read(1 << 20):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != source.md5:
            raise NotAvailableError(f"its MD5 sum is {digest.hexdigest()}, expected {source.md5}")
        partial.replace(path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NotAvailableError(_first_line(error)) from None
    finally:
        partial.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__

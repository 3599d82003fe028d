"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from vlmbench.backends.settings import DEVICE_MAPS, DTYPES
from vlmbench.runs.folder.layout import is_of_a_run
from vlmbench.schema import Json

MAX_DIGITS = 18
"""Of a count: more do not fit in 64 bits."""


def path(text: str) -> Path:
    """A file or folder, as argparse's type; ~ is the home folder, also where a shell leaves it."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    if os.path.lexists(text):
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(
            f"{text}: there is no such home folder; if it is a name, write ./{text}"
        ) from None


def result_path(text: str) -> Path:
    """A file to write a result to, as argparse's type."""
    found = path(text)
    if is_of_a_run(found):
        raise argparse.ArgumentTypeError(f"{text} is a run's own file; name another")
    return found


def count(least: int) -> Callable[[str], int]:
    """A whole number that is not below `least`, as argparse's type."""

    def counted(text: str) -> int:
        is_number = text.isascii() and text.isdigit()
        if is_number and len(text) > MAX_DIGITS:
            raise argparse.ArgumentTypeError(f"{text[:MAX_DIGITS]}... has too many digits")
        if not is_number or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least}")
        return int(text)

    return counted


def data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=path, metavar="DIR", help="a local copy of the data set")
    parser.add_argument(
        "--tasks-dir", type=path, metavar="DIR", help="your own task files, or lmms-eval's yaml"
    )


def model_arguments(parser: argparse.ArgumentParser) -> None:
    """`--model` and the settings of backends; one that is not given stays None."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="BACKEND:MODEL",
        help="idefics2:PATH_OR_HUB_ID, transformers:PATH_OR_HUB_ID, openai:URL[,URL...]#MODEL, "
        "replay:FILE_OR_RUN or constant:TEXT",
    )
    group = parser.add_argument_group("how the model runs (each only where the backend uses it)")
    group.add_argument("--batch-size", type=int, metavar="N", help="requests at once")
    group.add_argument("--cache-gib", type=float, metavar="G", help="for keys and values")
    group.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="no answer depends on its neighbours (slower)",
    )
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: auto)")
    group.add_argument("--dtype", choices=DTYPES)
    group.add_argument(
        "--split",
        dest="split_images",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="cut pictures in four (default: as the checkpoint says)",
    )
    group.add_argument("--temperature", type=float, metavar="T")
    group.add_argument("--top-p", type=float, metavar="P")
    group.add_argument("--seed", type=int, metavar="N", help="of sampling")
    group.add_argument("--concurrency", type=int, metavar="N", help="requests at once to a server")
    group.add_argument("--timeout", dest="timeout_s", type=float, metavar="SECONDS")
    group.add_argument("--max-retries", type=int, metavar="N")
    group.add_argument("--api-key-env", metavar="NAME", help="variable that holds a server's key")
    group.add_argument("--extra-body", type=_json_object, metavar="JSON", help="for a server too")
    group.add_argument("--system", metavar="TEXT", help="a system message before the question")
    group.add_argument(
        "--retry-truncated",
        type=int,
        metavar="N",
        help="ask for a cut-off answer again, N times, each with twice the tokens (servers)",
    )
    group.add_argument("--max-side", type=int, metavar="PIXELS", help="scale larger pictures down")
    group.add_argument("--device-map", choices=DEVICE_MAPS, help="spread a model over all devices")
    group.add_argument(
        "--trust-remote-code",
        action="store_true",
        default=None,
        help="run a checkpoint's own Python files",
    )


def _json_object(text: str) -> Mapping[str, Json]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object, such as {{"top_k": 1}}')
    return value


def model_settings(args: argparse.Namespace) -> Mapping[str, Json]:
    """The settings that were given."""
    names = (
        *("batch_size", "device", "dtype", "split_images", "temperature", "top_p", "seed"),
        *("cache_gib", "deterministic", "concurrency", "timeout_s", "max_retries", "api_key_env"),
        *("extra_body", "system", "retry_truncated", "max_side", "device_map", "trust_remote_code"),
    )
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def track_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--track",
        metavar="TRACKER[:PROJECT]",
        help="send figures to trackio, wandb or tensorboard (default: nothing is sent anywhere)",
    )

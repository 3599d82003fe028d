"""One question about some pictures, from Python or from the command line."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch
from PIL import Image

from idefics2.chat import Message
from idefics2.checkpoint import load_located, locate
from idefics2.dtypes import default_dtype
from idefics2.generate import Sampling, generate
from idefics2.images import read_picture
from idefics2.model import Idefics2
from idefics2.processor import Processor

MAX_NEW_TOKENS = 128
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

EXAMPLES = """examples:
  {prog} --model HuggingFaceM4/idefics2-8b cat.jpg "What is on the mat?"
  {prog} --model ./idefics2-8b --no-split --json before.png after.png "What has changed?"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer and the prompt that it answers."""

    text: str
    finish_reason: str
    """"stop", or "length" if it was cut off."""
    prompt_ids: tuple[int, ...]
    """Ids with `<image>` slots."""
    ids: tuple[int, ...]
    """Token ids of the answer."""
    visual_tokens: int
    """Of all its crops; in the cross-attention architecture those that `<image>` ids stand for."""
    grids: tuple[tuple[int, int], ...]
    """Rows and columns of patches of each crop."""
    timings: dict[str, float]
    """Seconds: preprocess_s, encode_s, prefill_s, decode_s."""


def answer(
    model: Idefics2,
    processor: Processor,
    images: Sequence[Image.Image],
    question: str,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Answer:
    """The answer by greedy decoding to a question that follows its pictures.

    Asked in the checkpoint's chat template; a checkpoint without one continues the question.

    Raises: ValueError for a picture that cannot be used or a prompt beyond the context.
    """
    start = time.perf_counter()
    if processor.chat_template is None:
        prompt = processor.prompt([*images, question])
    else:
        prompt = processor.chat([Message("user", (*images, question))])
    preprocess_s = time.perf_counter() - start
    sampling = Sampling(
        max_new_tokens=max_new_tokens, stop_ids=processor.stop_ids, bad_ids=processor.bad_ids
    )
    [generation] = generate(model, [prompt], sampling)
    return Answer(
        text=processor.decode(generation.ids),
        finish_reason=generation.finish_reason,
        prompt_ids=prompt.ids,
        ids=generation.ids,
        visual_tokens=model.config.visual_tokens_of(prompt.ids.count(model.config.image_id)),
        grids=tuple((rows, columns) for rows, columns in prompt.grid_I2.tolist()),
        timings={"preprocess_s": preprocess_s, **asdict(generation.timings)},
    )


def ask(argv: Sequence[str], *, prog: str = "python -m idefics2 ask") -> int:
    """The command: prints the answer and returns the exit status, 2 for the user's mistake."""
    try:
        arguments = _parser(prog).parse_intermixed_args(argv)
        if _is_file(arguments.question):
            raise ValueError(f"the question comes last, and {arguments.question} is a file")
        images = [read_picture(path) for path in arguments.images]
        device = _device(arguments.device)
        dtype = DTYPES[arguments.dtype] if arguments.dtype else default_dtype(device)
        folders = locate(arguments.model, None, arguments.adapter, arguments.processor)
        model, processor = load_located(folders, dtype=dtype, device=device)
        if folders.adapter is not None:
            print(
                f"{prog}: merged the adapter {folders.adapter} into {folders.model}",
                file=sys.stderr,
            )
        if arguments.split is not None:
            settings = replace(processor.images, split=arguments.split)
            processor = replace(processor, images=settings)
        result = answer(
            model, processor, images, arguments.question, max_new_tokens=arguments.max_new_tokens
        )
    except (ValueError, FloatingPointError) as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(asdict(result)) if arguments.json else result.text)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description="Ask Idefics2 about pictures.",
        epilog=EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="files, in the order seen")
    parser.add_argument("question", help="what to ask; comes last")
    parser.add_argument("--model", required=True, help="folder of a checkpoint, or its hub id")
    parser.add_argument("--adapter", help="LoRA or DoRA of peft to merge: its folder or hub id")
    parser.add_argument(
        "--processor", help="where tokenizer and image processor are, if not with the model"
    )
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="default: float32 on cpu, else bfloat16, or float16 on a GPU without that",
    )
    parser.add_argument(
        "--split",
        action=argparse.BooleanOptionalAction,
        help="show each picture as five crops; default: as the checkpoint says",
    )
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=MAX_NEW_TOKENS,
        metavar="N",
        help="default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="print ids, grids and timings too")
    return parser


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a long question is no name of a file
        return False


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # An unknown name, a missing driver, a build without CUDA
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {name!r}: {str(error).splitlines()[0]}") from None
    return device

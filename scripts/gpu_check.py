"""Whether the model and its engine compute on a GPU what they compute on a CPU.

    .venv/bin/python scripts/gpu_check.py --json results/bench/gpu_check.json

Two models with random weights: the tiny one, and the 8B's full width with two layers of each stack.
Logits in float32, bfloat16 and float16 on the GPU stand against float32 on the CPU, as the largest
difference over the largest logit. Token ids in float32 have to be the same in batches of 1, 2, 7
and 64, and by the engine; in half precision sums in another order can turn a near tie, so there it
is counted how many answers differ. The engine that is deterministic has to give the same ids
whatever else it is asked. Exit code 1 if anything fails, 2 without a GPU.

Needs neither transformers nor datasets nor evaluate.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import random_model  # beside this file, as provenance is
import torch
from provenance import provenance

from idefics2 import Idefics2, Idefics2Config
from idefics2.engine import Engine, Request, images_of
from idefics2.generate import Sampling, generate
from idefics2.prompt import Prompt
from vlmbench.tables import aligned

BATCH_SIZES = (1, 2, 7, 64)
NUM_NEW = 12
LARGEST_ERROR = {"float32": 2e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Of the largest logit. The first leaves room for TF32 products, should torch be set to them."""

GRIDS = ((27, 27), (34, 45), (20, 31), (45, 27))


def configs() -> dict[str, Idefics2Config]:
    whole = random_model.config_of("8b")
    wide = replace(
        whole,
        vision=replace(whole.vision, num_layers=2),
        text=replace(whole.text, num_layers=2),
    )
    return {"tiny": random_model.config_of("tiny"), "8b, two layers": wide}


def prompts(config: Idefics2Config, number: int) -> list[Prompt]:
    """A picture of noise and some words each; three neighbours share a picture."""
    dice = random.Random(0)
    made = []
    for index in range(number):
        rows, columns = GRIDS[index // 3 % len(GRIDS)]
        generator = torch.Generator().manual_seed(index // 3)
        shape = (rows * columns, config.vision.patch_values)
        patches_PK = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        words = [dice.randrange(10, 400) for _ in range(dice.randint(4, 40))]
        slots = [config.image_id] * config.image_slots(rows, columns)
        ids = (1, 3, *slots, *words)
        made.append(Prompt(ids, patches_PK, torch.tensor([(rows, columns)])))
    return made


def check(name: str, config: Idefics2Config, device: str) -> list[dict[str, Any]]:
    """All checks of one model, a dtype each."""
    asked = prompts(config, max(BATCH_SIZES))
    original = random_model.ours(config, "cpu", torch.float32)
    expected = logits(original, asked[:4])
    rows = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        model = copy.deepcopy(original).to(device, dtype)
        found = logits(model, asked[:4])
        errors = [
            float((one - other).abs().max() / other.abs().max())
            for one, other in zip(found, expected, strict=True)
        ]
        batches = {size: in_batches(model, asked, size) for size in BATCH_SIZES}
        alone = batches[1]
        engine = by_engine(model, asked, deterministic=False)
        fixed = by_engine(model, asked, deterministic=True)
        halves = by_engine(model, asked[::2], True) + by_engine(model, asked[1::2], True)
        row = {
            **{"model": name, "dtype": str(dtype).removeprefix("torch.")},
            "largest_error": max(errors),
            "differ_in_batches": {
                str(size): differing(ids, alone) for size, ids in batches.items()
            },
            "differ_in_engine": differing(engine, alone),
            "differ_in_deterministic_engine": differing(fixed, alone),
            "deterministic_depends_on_company": differing(halves, fixed[::2] + fixed[1::2]),
            "n": len(asked),
        }
        rows.append(row | {"passed": passed(row)})
    return rows


def passed(row: dict[str, Any]) -> bool:
    is_close = row["largest_error"] <= LARGEST_ERROR[row["dtype"]]
    counts = [*row["differ_in_batches"].values(), row["differ_in_engine"]]
    is_exact = row["dtype"] != "float32" or not any(counts)
    return is_close and is_exact and not row["deterministic_depends_on_company"]


@torch.inference_mode()
def logits(model: Idefics2, asked: Sequence[Prompt]) -> list[torch.Tensor]:
    """Of all tokens of each prompt alone, float32 on the CPU."""
    found = []
    for prompt in asked:
        visual = model.encode_images(prompt.patches_PK, prompt.grid_I2)
        ids_BT = torch.tensor([prompt.ids], device=model.device)
        found.append(model(ids_BT, visual=visual)[0].float().cpu())
    return found


def in_batches(model: Idefics2, asked: Sequence[Prompt], size: int) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for start in range(0, len(asked), size):
        sampling = Sampling(max_new_tokens=NUM_NEW)
        found += [g.ids for g in generate(model, asked[start : start + size], sampling)]
    return found


def by_engine(
    model: Idefics2, asked: Sequence[Prompt], deterministic: bool
) -> list[tuple[int, ...]]:
    requests = [
        Request(
            id=f"{index:04}",
            ids=prompt.ids,
            images=images_of(prompt, model.config),
            sampling=Sampling(max_new_tokens=NUM_NEW),
        )
        for index, prompt in enumerate(asked)
    ]
    results = {r.id: r for r in Engine(model, deterministic=deterministic).run(requests)}
    for result in results.values():
        if result.error:
            sys.exit(f"the engine failed: {result.error}")
    return [results[request.id].ids for request in requests]


def differing(one: Sequence[tuple[int, ...]], other: Sequence[tuple[int, ...]]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def table(rows: Sequence[dict[str, Any]]) -> str:
    header = ["model", "dtype", "largest error", *(f"batch {size}" for size in BATCH_SIZES)]
    header += ["engine", "deterministic", "company", "n", "passed"]
    lines = [
        [
            *(row["model"], row["dtype"], f"{row['largest_error']:.1e}"),
            *map(str, row["differ_in_batches"].values()),
            *(str(row["differ_in_engine"]), str(row["differ_in_deterministic_engine"])),
            *(str(row["deterministic_depends_on_company"]), str(row["n"])),
            "yes" if row["passed"] else "NO",
        ]
        for row in rows
    ]
    return aligned(header, lines, num_left=2)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="", help="some of: tiny; 8b, two layers (with ;)")
    parser.add_argument("--device", default="cuda", help="cpu tries the script itself")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args(argv)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("gpu_check: torch sees no GPU on this machine; nothing was checked", file=sys.stderr)
        return 2
    known = configs()
    names = [name.strip() for name in args.models.split(";")] if args.models else list(known)
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no model {unknown[0]!r}; there are {'; '.join(known)}")
    rows = [row for name in names for row in check(name, known[name], args.device)]
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**provenance(), "rows": rows}, indent=1) + "\n", "utf-8")
    print(table(rows))
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

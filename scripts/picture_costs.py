"""What pictures in a prompt cost in both architectures: visual tokens, FLOPs, memory and time.

    .venv/bin/python scripts/picture_costs.py --json results/bench/picture_costs.json
    .venv/bin/python scripts/picture_costs.py --no-times

A prompt has 1, 4 or 16 pictures and a question; its answer has eight tokens. Sizes: the
laboratory's model, 100 million parameters, and the 8B of the paper's Table 3. FLOPs are those of
`idefics2.flops`. Memory is counted as the engine's own code runs on tensors without data, the 8B
too: all tensors that are alive at once, without what an operator needs inside it. "kept" is what a
sequence keeps for each decode step: keys and values of its tokens, and, by cross-attention, of the
last picture. Times are those of the engine with random weights, in one process, pictures being
decoded already: one request alone, and several at once, no picture in two of them.

Needs torch; neither transformers nor datasets nor evaluate.
"""

from __future__ import annotations

import argparse
import json
import sys
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import random_model  # beside this file, as provenance is
import torch
from provenance import provenance
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from idefics2 import Idefics2, Idefics2Config, flops
from idefics2.engine import Engine, LazyImage, Request
from idefics2.engine.batch import DecodeBatch, pack
from idefics2.engine.crop_cache import CropCache, CropKeys, CropRun, split_crops
from idefics2.engine.kv_cache import KVCache
from idefics2.engine.limits import SLOT_UNIT
from idefics2.engine.model_runner import ModelRunner
from idefics2.engine.planner import PlannedPrompt
from idefics2.engine.prefill_images import VisualInputs
from idefics2.engine.scheduler import Chunk, PrefillStep
from idefics2.images import PackedImages
from idefics2.onednn import PackedWeights
from idefics2.prompt import Slots
from idefics2.sampling import Sampling
from recipes.findings.models import SIZES
from vlmbench.tables import aligned

PICTURES = (1, 4, 16)
ARCHITECTURES = ("autoregressive", "cross_attention")
NUM_WORDS, NUM_NEW = 24, 8
PATCHES_AT_ONCE = 2048
"""That the vision tower takes, as by the engine's default on a CPU."""


def sizes() -> dict[str, tuple[Idefics2Config, tuple[int, int], torch.dtype]]:
    """Configuration, rows and columns of a picture's patches, and dtype.

    A picture of 640 x 480 pixels, or what is as much smaller as the model is.
    """
    laboratory = SIZES["small"].config()
    side = laboratory.vision.positions_per_side
    return {
        "laboratory": (laboratory, (side, side), torch.float32),
        "100m": (random_model.config_of("100m"), (19, 25), torch.float32),
        "8b": (random_model.config_of("8b"), (34, 45), torch.bfloat16),
    }


def prompt_ids(config: Idefics2Config, grid: flops.Grid, first_word: int = 10) -> tuple[int, ...]:
    """Pictures one after the other, each between two marks, and the question."""
    mark = 3
    ids = [1, mark]
    for crop in grid:
        ids += [config.image_id] * config.image_slots(*crop) + [mark]
    words = (word for word in range(first_word, first_word + 2 * NUM_WORDS))
    ids += [word for word in words if word != config.image_id][:NUM_WORDS]
    return tuple(ids)


class LiveMemory(TorchDispatchMode):
    """Bytes of all tensors that operators have given and that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known = WeakIdKeyDictionary()

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Does not count these, though operators give views of them."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()] = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(given):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return given

    def _note(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known[storage] = True
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, num_bytes: int) -> None:
        self.live -= num_bytes


class UnpackedWeights(PackedWeights):
    """Without copies for small batches, which are a matter of one kind of CPU."""

    def modules(self, num_rows: int) -> tuple[torch.nn.Module, ...]:
        return self._modules


@torch.inference_mode()
def memory(config: Idefics2Config, grid: flops.Grid, dtype: torch.dtype) -> dict[str, int]:
    """Bytes of the weights, of what one sequence keeps, and of all at most.

    The engine's steps for one request: crops encoded in batches, one prefill, one decode step.
    """
    ids = prompt_ids(config, grid)
    slot_tokens = -(-(len(ids) + NUM_NEW) // SLOT_UNIT) * SLOT_UNIT
    cpu = torch.device("cpu")
    with FakeTensorMode():
        model = _model(config, dtype)
        weights = sum(p.nbytes for p in model.parameters())
        with LiveMemory() as found:
            found.leave_out(model.parameters())
            cache = KVCache(config.text, 1, slot_tokens, dtype=dtype, device=cpu)
            crops = CropCache(config, 1, dtype=dtype, device=cpu) if _crosses(config) else None
            packed = UnpackedWeights(model.text_model, model.lm_head)
            runner = ModelRunner(model, cache, crops, packed, fixed_shapes=False)
            prompt = PlannedPrompt(index=0, id="0", keys=ids, max_new_tokens=NUM_NEW)
            step = PrefillStep((Chunk(prompt, 0, len(ids), 0),), 0, 0)
            batch = pack(step, [ids], [()], cache.prefix_slot)
            x_WD = runner.prefill(batch, _encoded(model, ids, grid))
            runner.logits(x_WD, [0])
            runner.decode(DecodeBatch([0], [len(ids)], [1]))
            peak = found.peak
    text = config.text
    token_bytes = 2 * text.num_layers * text.num_kv_heads * text.head_width * dtype.itemsize
    kept = len(ids) + NUM_NEW + (CropCache.slot_tokens(config) if _crosses(config) else 0)
    return {"weights": weights, "kept": kept * token_bytes, "peak": weights + peak}


def _model(config: Idefics2Config, dtype: torch.dtype) -> Idefics2:
    """A model without data, which `to` cannot convert."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return Idefics2(config).eval()
    finally:
        torch.set_default_dtype(before)


def _encoded(model: Idefics2, ids: Sequence[int], grid: flops.Grid) -> VisualInputs:
    """What the encoder cache has of a prompt's pictures."""
    visual: list[Tensor] = []
    keys: list[CropKeys] = []
    at_once = max(1, PATCHES_AT_ONCE // (grid[0][0] * grid[0][1]))
    for start in range(0, len(grid), at_once):
        part = grid[start : start + at_once]
        num_patches = sum(rows * columns for rows, columns in part)
        patches = torch.zeros((num_patches, model.config.vision.patch_values), dtype=torch.uint8)
        latents = model.encode_images(patches, _Numbers(part))  # type: ignore[arg-type]
        if _crosses(model.config):
            blocks = model.text_model.read_images(latents)
            keys += split_crops(blocks, latents.shape[1])
        else:
            visual.append(latents.flatten(0, -2))
    places = [place for place, id in enumerate(ids) if id == model.config.image_id]
    if not keys:
        return VisualInputs(places, torch.cat(visual))
    bounds = zip(places, [*places[1:], len(ids)], strict=True)
    runs = [CropRun(range(*bound), crop) for bound, crop in zip(bounds, keys, strict=True)]
    return VisualInputs(runs=runs, kept=[(0, keys[-1])])


class _Numbers:
    """A grid that has its numbers, as a tensor without data has not."""

    def __init__(self, grid: flops.Grid) -> None:
        self._grid = grid

    def tolist(self) -> list[list[int]]:
        return [list(crop) for crop in self._grid]


def times(
    config: Idefics2Config, grid: flops.Grid, dtype: torch.dtype, at_once: int, repetitions: int
) -> dict[str, float]:
    """Seconds of one request alone, medians, and requests a second of several at once."""
    engine = Engine(random_model.ours(config, "cpu", dtype))
    asked = [_request(config, grid, number) for number in range(at_once + repetitions + 1)]
    list(engine.run(asked[:1]))
    alone, first = [], []
    for request in asked[1 : repetitions + 1]:
        start = perf_counter()
        [result] = engine.run([request])
        alone.append(perf_counter() - start)
        first.append(result.timings.first_token_s)
        assert not result.error, result.error
    start = perf_counter()
    assert len(list(engine.run(asked[-at_once:]))) == at_once
    return {
        "first_token_s": median(first),
        "latency_s": median(alone),
        "samples_per_s": at_once / (perf_counter() - start),
    }


def _request(config: Idefics2Config, grid: flops.Grid, number: int) -> Request:
    images = []
    for place, (rows, columns) in enumerate(grid):
        generator = torch.Generator().manual_seed(number * len(grid) + place)
        shape = (rows * columns, config.vision.patch_values)
        patches_PK = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        packed = PackedImages(patches_PK, torch.tensor([(rows, columns)]))
        slots = Slots((config.image_slots(rows, columns),))
        load = partial(_same, packed)
        images.append(LazyImage(digest=f"{number}/{place}", slots=slots, load=load))
    return Request(
        id=f"{number:04}",
        ids=prompt_ids(config, grid, 10 + number % 20),
        images=tuple(images),
        sampling=Sampling(max_new_tokens=NUM_NEW),
    )


def _same(packed: PackedImages) -> PackedImages:
    return packed


def _crosses(config: Idefics2Config) -> bool:
    return config.architecture == "cross_attention"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each size, architecture and number of pictures; memory in MB."""
    header = ["size", "architecture", "pictures", "visual tokens", "prompt tokens", "GFLOPs"]
    header += ["weights MB", "kept MB", "peak MB", "first token s", "latency s", "samples/s"]
    lines = []
    for row in rows:
        megabytes = [f"{row['bytes'][name] / 1e6:.4g}" for name in ("weights", "kept", "peak")]
        taken = [
            f"{row['times'][name]:.3g}" if row["times"] else ""
            for name in ("first_token_s", "latency_s", "samples_per_s")
        ]
        counts = [str(row[name]) for name in ("pictures", "visual_tokens", "prompt_tokens")]
        total = f"{sum(row['flops'].values()) / 1e9:.4g}"
        lines.append([row["size"], row["architecture"], *counts, total, *megabytes, *taken])
    return aligned(header, lines, num_left=2)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = sizes()
    parser.add_argument("--sizes", default=",".join(known), help="some of them")
    parser.add_argument("--no-times", action="store_true", help="count only")
    parser.add_argument("--requests", type=int, default=8, help="at once, for samples a second")
    parser.add_argument("--repetitions", type=int, default=3, help="of one request alone")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.sizes.split(",")) - set(known)):
        parser.error(f"no size {unknown[0]!r}; there are {', '.join(known)}")
    if args.threads:
        torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    for name in args.sizes.split(","):
        plain, picture, dtype = known[name]
        for architecture in ARCHITECTURES:
            config = replace(plain, architecture=architecture)
            for number in PICTURES:
                grid = [picture] * number
                num_prompt = len(prompt_ids(config, grid))
                is_timed = name != "8b" and not args.no_times
                row = {
                    **{"size": name, "architecture": architecture, "pictures": number},
                    **{"grid": picture, "dtype": str(dtype).removeprefix("torch.")},
                    "visual_tokens": flops.visual_tokens(config, grid),
                    "prompt_tokens": num_prompt,
                    "flops": asdict(flops.of_answer(config, grid, num_prompt, NUM_NEW)),
                    "bytes": memory(config, grid, dtype),
                    "times": times(config, grid, dtype, args.requests, args.repetitions)
                    if is_timed
                    else None,
                }
                rows.append(row)
                print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**provenance(), "rows": rows}, indent=1) + "\n", "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()

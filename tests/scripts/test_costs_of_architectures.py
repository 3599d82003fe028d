"""The scripts that measure architectures: what they count, and that they run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]


@pytest.mark.parametrize("is_fake", [False, True])
def test_memory_is_that_of_tensors_that_are_alive(scripts: None, is_fake: bool) -> None:
    from picture_costs import LiveMemory  # type: ignore[import-not-found]

    with FakeTensorMode() if is_fake else torch.inference_mode():
        weight = torch.zeros(50, 10)
        with LiveMemory() as found:
            found.leave_out([weight])
            x = torch.zeros(100, 10)
            y = x.view(10, 100)
            assert found.live == 4000
            del x
            assert found.live == 4000, "its view is there"
            z = y.view(100, 10) @ weight.t()
            assert found.live == 4000 + 100 * 50 * 4
            del y, z
            assert found.live == 0
            assert found.peak == 4000 + 100 * 50 * 4


def test_pictures_fill_the_cache_in_one_architecture_and_not_in_the_other(scripts: None) -> None:
    from picture_costs import memory, sizes

    config, picture, dtype = sizes()["laboratory"]
    kept: dict[str, list[int]] = {}
    for architecture in ("autoregressive", "cross_attention"):
        own = replace(config, architecture=architecture)
        found: list[Any] = [memory(own, [picture] * number, dtype) for number in (1, 16)]
        kept[architecture] = [one["kept"] for one in found]
        assert found[0]["weights"] == found[1]["weights"] < found[0]["peak"] < found[1]["peak"]
    text, num_latents = config.text, config.perceiver.num_latents
    token_bytes = 2 * text.num_layers * text.num_kv_heads * text.head_width * 4
    more = kept["autoregressive"][1] - kept["autoregressive"][0]
    assert more == 15 * (num_latents + 1) * token_bytes, "latents, and a mark between pictures"
    more = kept["cross_attention"][1] - kept["cross_attention"][0]
    assert more == 15 * 2 * token_bytes


def test_the_bench_of_architectures_compares_engine_and_loop(
    scripts: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench_architectures import main  # type: ignore[import-not-found]

    path = tmp_path / "found.json"
    what = ["--config", "tiny", "--architectures", "cross-attention", "--workloads", "vqav2"]
    main([*what, "--questions", "3", "--repetitions", "1", "--json", str(path)])
    [row] = json.loads(path.read_text())["rows"]
    assert (row["architecture"], row["differ"]) == ("cross-attention", 0)
    assert "cross-attention" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--architectures", "convolution"])
    assert "no architecture 'convolution'" in capsys.readouterr().err

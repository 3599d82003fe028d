"""From a model's name to its backend, and what a wrong name or setting is told."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import types
from dataclasses import dataclass, fields
from typing import Any

import pytest

from vlmbench.backends import registry, settings
from vlmbench.backends.constant import ConstantBackend
from vlmbench.backends.registry import BUILT_IN, check, open_backend
from vlmbench.backends.settings import (
    NAME,
    Idefics2Settings,
    LocalSettings,
    SamplingSettings,
    ServerSettings,
    Settings,
    TransformersSettings,
    setting,
    whole,
)
from vlmbench.errors import VlmbenchError


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("constnat:A", "no backend named 'constnat' (a model is BACKEND:ARGUMENT); did you mean"),
        ("vllm:org/model-8b", "no backend named 'vllm'; serve the model and give openai:URL#MODEL"),
        ("hf:org/model-8b", "no backend named 'hf'; give transformers:PATH_OR_HUB_ID"),
        ("org/model-8b", "no backend named 'org/model-8b' (a model is BACKEND:ARGUMENT); there"),
        ("", "no backend named ''"),
        (":tiny", "no backend named ''"),
        ("constant", "the model 'constant' lacks its second half; write constant:TEXT"),
        ("constant:", "the model 'constant:' lacks its second half; write constant:TEXT"),
        ("openai", "the model 'openai' lacks its second half; write openai:URL#MODEL"),
        ("replay:", "the model 'replay:' lacks its second half; write replay:FILE_OR_RUN"),
    ],
)
def test_a_wrong_name_is_told_the_right_ones(spec: str, error: str) -> None:
    with pytest.raises(VlmbenchError) as raised:
        check(spec, {})
    assert str(raised.value).startswith(error)
    assert "\n" not in str(raised.value)
    with pytest.raises(VlmbenchError) as again:
        open_backend(spec)
    assert str(again.value) == str(raised.value)


def test_the_built_in_backends_are_named() -> None:
    with pytest.raises(VlmbenchError, match=", ".join(sorted(BUILT_IN))):
        check("zzzzzz:A", {})


@pytest.mark.parametrize(
    ("spec", "settings", "error"),
    [
        ("constant:A", {"batch_size": 8}, "'constant' has no use for the setting batch_size"),
        ("openai:http://x#M", {"dtype": "float16"}, "'openai' has no use for the setting dtype"),
        ("openai:http://x#M", {"split_images": False}, "no use for the setting split_images"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(
    spec: str, settings: dict[str, Any], error: str
) -> None:
    with pytest.raises(VlmbenchError, match=error):
        check(spec, settings)
    with pytest.raises(VlmbenchError, match=error):
        open_backend(spec, **settings)
    check(spec, dict.fromkeys(settings))


def test_an_unknown_setting_is_told_the_right_one() -> None:
    with pytest.raises(VlmbenchError, match="no setting named 'batchsize'; did you mean batch_"):
        open_backend("constant:A", batchsize=3)


SERVERS = ("concurrency", "max_retries", "timeout_s", "api_key_env")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", True),
        ("batch_size", "8"),
        ("concurrency", 0),
        ("max_retries", -1),
        ("seed", -1),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("timeout_s", 0),
        ("timeout_s", True),
        ("timeout_s", float("inf")),
        ("dtype", "float61"),
        ("dtype", None),
        ("split_images", "yes"),
        ("split_images", 1),
        ("device", ""),
        ("api_key_env", ""),
        ("cache_gib", 0),
        ("deterministic", 1),
        ("seed", 2**63),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(VlmbenchError) as raised:
        (ServerSettings if name in SERVERS else Idefics2Settings)(**{name: value})
    told = "no dtype named" if name == "dtype" else f"{name} is {value!r}, must be"
    assert str(raised.value).startswith(told)


@pytest.mark.parametrize("value", [[], "x", 1])
def test_extra_body_is_an_object(value: Any) -> None:
    with pytest.raises(VlmbenchError, match="must be a JSON object"):
        ServerSettings(extra_body=value)
    with pytest.raises(VlmbenchError, match=r"extra_body is '.*', must be a JSON object"):
        registry.read("openai:http://x#M", {"extra_body": json.dumps(value)})
    read = registry.read("openai:http://x#M", {"extra_body": '{"top_k": 1}'})
    assert read == {"extra_body": {"top_k": 1}}


def test_a_model_that_is_spread_over_all_devices_names_none() -> None:
    with pytest.raises(VlmbenchError, match="device_map spreads a model over all devices"):
        TransformersSettings(device_map="auto", device="cuda:1")
    assert TransformersSettings(device_map="auto", device="cuda").device == "cuda"


def test_built_in_backends_agree_on_settings_of_one_name() -> None:
    flags: dict[str, Any] = {}
    for kind in settings.BUILT_IN:
        for one in fields(kind):
            assert flags.setdefault(one.name, (one.default, one.metadata)) == (
                one.default,
                one.metadata,
            )


def test_top_p_without_sampling_is_refused() -> None:
    with pytest.raises(VlmbenchError, match="top_p does nothing in greedy decoding"):
        SamplingSettings(top_p=0.5)
    assert SamplingSettings(top_p=0.5, temperature=1).top_p == 0.5


def test_a_manifest_has_the_settings_that_can_change_an_answer_with_their_defaults() -> None:
    spec, given = "openai:http://x#M", {"temperature": 0.5, "concurrency": 3, "seed": None}
    assert registry.identity(spec, given) == {"spec": spec}
    assert registry.generation(spec, given) == {"temperature": 0.5, "top_p": 1.0, "seed": 0}
    assert registry.generation("constant:A", {}) == {}


@pytest.mark.usefixtures("installed")
def test_a_manifest_has_the_settings_of_the_model_itself() -> None:
    given = {"dtype": "float16", "batch_size": 3}
    own = {"dtype": "float16", "split_images": None}
    assert registry.identity("local:x", given) == {"spec": "local:x"} | own
    assert registry.forecast("local:x", given) is None


@pytest.mark.usefixtures("installed")
def test_a_backend_may_tell_more_of_its_model() -> None:
    identity = registry.identity("careful:x", {"seed": 3})
    assert identity == {"spec": "careful:x", "weights": "x 3"}
    assert str(registry.forecast("careful:x", {"seed": 3})) == "forecast of x 3"


def test_only_backends_that_look_are_said_to_see() -> None:
    assert registry.sees_pictures("openai:http://x#M")
    assert not registry.sees_pictures("constant:A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beams(SamplingSettings):
    """Settings of a backend that is not built in: with and without what makes a flag of a field."""

    num_beams: int = setting(1, whole(1), help="beams of the search")
    voice: str = setting("plain", NAME, help="of the answers")
    anything: object = None


class EntryPoint(importlib.metadata.EntryPoint):
    """One of a package that is not installed."""

    def load(self) -> object:
        if self.name == "broken":
            raise ImportError("no such symbol")
        if self.name == "other":
            return types.SimpleNamespace(open=print)
        if self.name == "local":
            return types.SimpleNamespace(Settings=LocalSettings, open=print)
        if self.name == "careful":
            return types.SimpleNamespace(
                Settings=SamplingSettings,
                open=print,
                identity=lambda text, settings: {"weights": f"{text} {settings.seed}"},
                forecast=lambda text, settings: f"forecast of {text} {settings.seed}",
            )
        return types.SimpleNamespace(
            Settings=Beams,
            open=lambda text, settings: ConstantBackend(f"{text}{settings.seed}"),
        )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = importlib.metadata.EntryPoints(
        EntryPoint(name, f"package:{name}", "vlmbench.backends")
        for name in ("theirs", "broken", "other", "local", "careful")
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)


@pytest.mark.usefixtures("installed")
def test_an_installed_backend_is_found_by_its_entry_point() -> None:
    backend = open_backend("theirs:x", seed=3)
    assert backend.probe().model == "constant:x3"
    with pytest.raises(VlmbenchError, match="write theirs:ARGUMENT"):
        check("theirs:", {})
    with pytest.raises(VlmbenchError, match="no use for the setting dtype; it uses: temper"):
        check("theirs:x", {"dtype": "float16"})
    with pytest.raises(VlmbenchError, match=r"'their' .*; did you mean theirs"):
        check("their:x", {})


@pytest.mark.usefixtures("installed")
def test_an_installed_backend_has_settings_of_its_own_and_a_run_is_known_by_them() -> None:
    texts = {"num_beams": "4", "voice": "5", "anything": "[1, 2]", "seed": "7"}
    read = registry.read("theirs:x", texts)
    assert read == {"num_beams": 4, "voice": "5", "anything": [1, 2], "seed": 7}
    assert registry.read("theirs:x", {"anything": "two words"}) == {"anything": "two words"}
    assert open_backend("theirs:x", **read).probe().model == "constant:x7"
    own = {"num_beams": 4, "voice": "plain", "anything": None}
    assert registry.identity("theirs:x", {"num_beams": 4}) == {"spec": "theirs:x"} | own


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ({"num_beams": "many"}, "num_beams is 'many', must be a whole number from 1"),
        ({"num_beam": "4"}, "no setting named 'num_beam'; did you mean num_beams"),
        ({"cache_gib": "4"}, "'theirs' has no use for the setting cache_gib; it uses: temp"),
    ],
)
def test_a_wrong_text_of_a_setting_is_named(texts: dict[str, str], error: str) -> None:
    with pytest.raises(VlmbenchError, match=error):
        registry.read("theirs:x", texts)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("broken:x", "'broken' .entry point package:broken. does not load: no such symbol"),
        ("other:x", "entry point package:other: it needs open.., and a dataclass"),
    ],
)
def test_an_installed_backend_that_is_broken_is_named(spec: str, error: str) -> None:
    with pytest.raises(VlmbenchError, match=error):
        open_backend(spec)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(argument: str, settings: Settings) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("vlmbench.backends.constant.open", without)
    with pytest.raises(VlmbenchError, match="'constant' needs the package torch, which is not"):
        open_backend("constant:A")


def test_no_backend_is_imported_before_it_is_asked_for() -> None:
    code = """
import sys
from vlmbench.backends.registry import open_backend
heavy = {"torch", "transformers", "httpx2", "anyio", "datasets", "PIL", "numpy"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
open_backend("constant:A")
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
try:
    open_backend("openai:http://localhost#")
except Exception:
    pass
assert "httpx2" in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "error",
    [
        OSError("libcudart.so.12: cannot open shared object file"),
        ImportError("libcudart.so.12: cannot open shared object file"),
    ],
)
def test_a_package_whose_library_does_not_load_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def open(argument: str, settings: Settings) -> Any:
        raise error

    monkeypatch.setattr("vlmbench.backends.constant.open", open)
    with pytest.raises(VlmbenchError, match="'constant' does not load: libcudart"):
        open_backend("constant:A")

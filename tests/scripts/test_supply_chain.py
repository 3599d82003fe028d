"""What comes from elsewhere: the list of packages, and connections that nobody asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import importlib, pkgutil, sys

opened = []

def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"):
        text = f"{event} {args[1:]}"  # urllib3 binds to ::1 to see whether there is IPv6
        if not any(here in text for here in ("'::1'", "'127.", "'localhost'")):
            opened.append(text)

sys.addaudithook(hook)
import vlmbench
names = [m.name for m in pkgutil.walk_packages(vlmbench.__path__, "vlmbench.")]
for name in names:
    if not name.endswith("__main__") and ".lmms" not in name:
        importlib.import_module(name)
from vlmbench.task import loading
assert len(list(loading.every())) == 6 and len(names) > 100
print(opened)
"""


def test_no_module_connects_to_another_machine_when_it_is_imported() -> None:
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ALL],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert found.stdout == "[]\n"


def test_the_bill_of_materials_names_every_pinned_package_that_is_installed() -> None:
    found = subprocess.run(
        [sys.executable, "scripts/sbom"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    document = json.loads(found.stdout)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    named = {part["name"]: part["version"] for part in document["components"]}
    assert {"numpy", "pillow", "torch", "transformers", "datasets"} <= named.keys()
    references = [part["bom-ref"] for part in document["components"]]
    assert len(set(references)) == len(references)
    assert all(part["purl"].startswith("pkg:pypi/") for part in document["components"])


def test_the_build_back_end_is_pinned() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert all("==" in requirement for requirement in project["build-system"]["requires"])

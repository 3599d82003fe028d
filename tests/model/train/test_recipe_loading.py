"""Finding recipes: in a file or a package, by name or by path, in a checkout or installed."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from idefics2.train import recipe_loading
from idefics2.train.recipe_loading import built_in_recipes, find_recipe
from vlmbench.cli.main import main

INIT = '''"""A recipe in a package."""

from __future__ import annotations

from .recipe import recipe, short

__all__ = ["recipe", "short"]
'''

RECIPE = """from __future__ import annotations

from dataclasses import replace

from idefics2.train import Recipe

from .stages import first


def recipe() -> Recipe:
    return Recipe(name="folder", start=lambda folder: folder, stages=(first(),))


def short() -> Recipe:
    return replace(recipe(), name="short")
"""

STAGES = """from __future__ import annotations

from idefics2.train import AdamW, Answers, Optimization, Rule, Stage

def first() -> Stage:
    return Stage(
        name="first",
        draw=str,
        objective=Answers(max_tokens=9),
        optimization=Optimization(rules=(Rule("", AdamW(lr=1e-3)),)),
        num_steps=1,
        batch_size=1,
        micro_tokens=1,
        micro_patches=1,
    )
"""


def write_package(folder: Path, **changed: str) -> Path:
    folder.mkdir(parents=True)
    files = {"__init__": INIT, "recipe": RECIPE, "stages": STAGES} | changed
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    return folder


def test_a_package_is_found_by_its_path_and_its_files_import_one_another(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "v1.2" / "mine")  # the import system splits names at dots
    assert find_recipe(str(folder)).stages[0].name == "first"
    assert find_recipe(f"{folder}:short").name == "short"


def test_a_folder_is_named_with_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert find_recipe("./mine").name == "folder"
    with pytest.raises(ValueError, match=r"no recipe named 'mine'; .*a folder as \./folder"):
        find_recipe("mine")


def test_two_packages_with_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    one = write_package(tmp_path / "one" / "mine")
    changed = STAGES.replace('name="first"', 'name="other"')
    other = write_package(tmp_path / "other" / "mine", stages=changed)
    stages = [find_recipe(str(folder)).stages[0].name for folder in (one, other)]
    assert stages == ["first", "other"]


def test_installed_recipes_are_files_and_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel has them in vlmbench/_recipes, which stands before a checkout's."""
    write_package(tmp_path / "packaged")
    (tmp_path / "single.py").write_text(
        (RECIPE + STAGES.partition("\n")[2]).replace("from .stages import first\n", ""), "utf-8"
    )
    (tmp_path / "__pycache__").mkdir()
    monkeypatch.setattr(recipe_loading, "_PACKAGED", tmp_path)
    assert built_in_recipes().keys() == {"packaged", "single"}
    assert find_recipe("packaged:short").name == "short"
    assert find_recipe("single:short").name == "short"


def test_a_wheel_carries_the_whole_folder_of_recipes() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["model/recipes"] == "vlmbench/_recipes"


def test_a_package_that_fails_is_one_line_and_can_be_loaded_once_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_package(tmp_path / "mine", stages="second = 1\n")
    assert main(["train", str(folder), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert f"{folder} does not load: ImportError: cannot import name 'first'" in error
    assert error.count("\n") == 1
    assert not [name for name in sys.modules if str(folder) in name]
    (folder / "stages.py").write_text(STAGES, "utf-8")
    assert find_recipe(str(folder)).name == "folder"


def test_a_folder_without_a_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no recipe in the folder .*: it has no __init__\.py"):
        find_recipe(f"{tmp_path}/mine")

"""Loads recipes by path: the project's own in `model/recipes`, or a user's.

A recipe is a function that needs no argument and is annotated to return a `Recipe`. It stands in a
file NAME.py, or in a package, a folder NAME with an `__init__.py` that defines it or imports it
from a file beside it. The import name of a recipe's module is not fixed, so files of a package
import one another relatively (`from .stages import first`) and all else absolutely.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from idefics2.train.recipe import Recipe

_CHECKOUT = Path(__file__).parents[2] / "recipes"
_PACKAGED = Path(__file__).parents[2] / "vlmbench" / "_recipes"  # in a wheel


def find_recipe(spec: str) -> Recipe:
    """The recipe of a spec: NAME, PATH.py or path/to/folder, each with :FUNCTION or without.

    Without a function's name it is `recipe`. A name with a slash is a path.

    Raises: ValueError where there is no such file or function, or it does not run.
    """
    name, _, function_name = spec.partition(":")
    path = _path_of(name)
    module = load_recipes(path)
    functions = recipe_functions(module)
    function_name = function_name or "recipe"
    if function_name not in functions:
        raise ValueError(_no_such(f"recipe in {path}", function_name, functions))
    try:
        return functions[function_name]()
    except ValueError:
        raise
    except Exception as error:  # somebody's code; its errors are the user's
        raise ValueError(
            f"{path}: {function_name} failed: {type(error).__name__}: {error}"
        ) from error


def recipe_functions(module: ModuleType) -> dict[str, Callable[[], Recipe]]:
    """Functions of a recipe's module, or of the files of its package, that return a `Recipe`."""
    return {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and not name.startswith("_")
        and f"{function.__module__}.".startswith(f"{module.__name__}.")
        and str(function.__annotations__.get("return")).rpartition(".")[2] in ("Recipe", "Recipe'>")
        and all(
            parameter.default is not parameter.empty
            for parameter in inspect.signature(function).parameters.values()
        )
    }


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with other values, each "key=value"; the value is read as JSON, else as text.

    A key is a path of fields, such as `seed` or `STAGE.optimization.schedule.floor`.

    Raises: ValueError for a key that is none.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r} is no key=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        first, *rest = key.split(".")
        stages = {stage.name: index for index, stage in enumerate(recipe.stages)}
        if first in stages and rest:
            changed = list(recipe.stages)
            index = stages[first]
            changed[index] = _with(changed[index], rest, value, key)
            recipe = replace(recipe, stages=tuple(changed))
        elif first in ("seed", "keep", "name") and not rest:
            recipe = _with(recipe, [first], value, key)
        else:
            raise ValueError(_no_such("setting", key, ["seed", "keep", *stages]))
    return recipe


def with_steps(recipe: Recipe, num_steps: int) -> Recipe:
    """The recipe with so many steps in every stage."""
    stages = (replace(stage, num_steps=num_steps) for stage in recipe.stages)
    return replace(recipe, stages=tuple(stages))


def _with(config: Any, path: list[str], value: Any, key: str) -> Any:
    known = {item.name: str(item.type) for item in fields(config) if item.init}
    if path[0] not in known:
        raise ValueError(_no_such("setting", key, known))
    before, kinds = getattr(config, path[0]), known[path[0]]
    if len(path) > 1:
        if not is_dataclass(before):
            raise ValueError(f"{key}: {path[0]} has no settings of its own")
        value = _with(before, path[1:], value, key)
    else:
        value = _converted(value, kinds)
        if before is None or value is None:
            known_kinds = {kind.partition("[")[0] for kind in kinds.split(" | ")}
            fits = type(value).__name__.removesuffix("Type") in known_kinds
        else:
            fits = type(value) is type(before)
        if not fits:
            like = kinds if before is None else f"like {before!r}"
            raise ValueError(f"{key} must be {like}, not {value!r}")
    return replace(config, **{path[0]: value})


def _converted(value: Any, kinds: str) -> Any:
    """A value from JSON as a field of that annotation has it."""
    if isinstance(value, list) and "tuple" in kinds:
        return tuple(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_whole and "float" in kinds else value


def _path_of(name: str) -> Path:
    """The recipe's file, or its package's folder."""
    path = Path(name)
    if path.suffix == ".py":
        if not path.is_file():
            raise ValueError(f"no recipe file {name}")
        return path
    if "/" in name or os.sep in name:
        if not (path / "__init__.py").is_file():
            raise ValueError(f"no recipe in the folder {name}: it has no __init__.py")
        return path
    built_in = built_in_recipes()
    if name not in built_in:
        hint = "or name a .py file, or a folder as ./folder"
        raise ValueError(f"{_no_such('recipe', name, built_in)}; {hint}")
    return built_in[name]


def built_in_recipes() -> dict[str, Path]:
    """Files and package folders of the project's recipes, by name."""
    folder = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
    files = {path.stem: path for path in folder.glob("[!_]*.py")}
    return files | {path.parent.name: path.parent for path in folder.glob("*/__init__.py")}


def load_recipes(path: Path) -> ModuleType:
    """The module of a recipe file or package folder; a process runs it once.

    Raises: ValueError that names the path where it does not run.
    """
    module_name = f"idefics2 recipe {path.resolve()}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    is_package = path.is_dir()
    spec = importlib.util.spec_from_file_location(
        module_name,
        path / "__init__.py" if is_package else path,
        submodule_search_locations=[str(path.resolve())] if is_package else None,
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # before it runs: dataclasses look their own module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # somebody's code; its errors are the user's
        for name in list(sys.modules):
            if f"{name}.".startswith(f"{module_name}."):
                del sys.modules[name]
        raise ValueError(f"{path} does not load: {type(error).__name__}: {error}") from error
    return module


def _no_such(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    return f"no {kind} named {name!r}; {hint}"

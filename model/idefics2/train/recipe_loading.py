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
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

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
        raise ValueError(no_such(f"recipe in {path}", function_name, functions))
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
        raise ValueError(f"{no_such('recipe', name, built_in)}; {hint}")
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


def no_such(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the known names that look like it, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    return f"no {kind} named {name!r}; {hint}"

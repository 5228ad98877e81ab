"""The house: which room may import which, what is loaded late, and names that no room has."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

NNTUNE = Path(__file__).parents[1] / "nntune"

# Room to the rooms that it may import; a line here is a decision, see docs/design.md.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "outputs": {"errors"},
    "families": set(),
    "own": {"errors", "families"},
    "trials": {"families"},
    "metrics": {"errors"},
    "space": {"errors", "families"},
    "data": {"errors", "families"},
    "study": {"errors", "space"},
    "products": {"trials"},
    "networks": {"products", "trials"},
    "optimizers": set(),
    "terms": {"optimizers", "trials"},
    "autograd": {"families", "networks", "own"},
    "training": {
        "autograd", "deferred", "families", "metrics", "networks", "optimizers", "terms", "trials",
    },
    "failures": {"errors", "trials"},
    "ahead": set(),
    "deferred": set(),
    "workers": {"ahead", "deferred", "errors", "failures", "networks", "training", "trials"},
    "tpe": set(),
    "stacks": {"families", "own", "trials"},
    "stops": {"metrics", "study"},
    "proposals": {"errors", "samplers", "space", "study", "tpe"},
    "samplers": {"errors", "space", "study"},
    "pruners": set(),
    "search": {
        "errors", "failures", "metrics", "proposals", "pruners", "space", "stacks", "stops",
        "study", "trials", "workers",
    },
    "wording": set(),
    "report": {"data", "errors", "outputs", "space", "study", "verdict", "wording"},
    "progress": {"report", "search", "stops"},
    "costs": {"data", "errors", "space", "stacks", "trials"},
    "session": {
        "costs", "data", "errors", "families", "metrics", "own", "progress", "proposals", "pruners",
        "retraining", "samplers", "search", "space", "stacks", "stops", "study", "tpe", "trials",
        "verdict", "workers",
    },
    "retraining": {"data", "errors", "own", "stacks", "study", "trials", "workers"},
    "bundle": {
        "autograd", "data", "errors", "failures", "families", "metrics", "outputs", "own",
        "retraining", "study", "trials", "workers",
    },
    "verdict": {
        "bundle", "data", "errors", "metrics", "retraining", "space", "stacks", "study", "trials",
        "wording", "workers",
    },
    "commands_verdict": {
        "data", "options", "report", "retraining", "study", "verdict", "workers",
    },
    "commands_model": {"bundle", "data", "errors", "options", "outputs", "wording"},
    "export": {
        "autograd", "bundle", "data", "errors", "families", "metrics", "space", "trials",
    },
    "commands_db": {"errors", "options", "study", "wording"},
    "commands_cluster": {"errors", "workers"},
    "commands_export": {"bundle", "errors", "export", "families", "options", "outputs", "space"},
    "commands_report": {"errors", "options", "outputs", "report", "study", "wording"},
    "estimators": {
        "bundle", "data", "errors", "metrics", "search", "session", "space", "stacks", "stops",
        "study", "trials", "workers",
    },
    "options": {"data", "errors", "own", "report", "study"},
    "cli": {
        "ahead",
        "commands_cluster", "commands_db", "commands_export", "commands_model", "commands_report",
        "commands_verdict", "costs", "data", "errors", "families", "options", "proposals", "report",
        "session", "space", "study", "wording",
    },
    "__main__": {"ahead", "cli"},
}  # fmt: skip

# Library to the rooms that may load it when they are imported; others do so inside functions.
AT_THE_TOP: dict[str, set[str]] = {
    "torch": {"autograd", "networks", "optimizers", "products", "terms", "training"},
    "optuna": {"tpe"},
    "rich": {"progress", "report"},
    "typer": {
        "cli",
        "commands_cluster",
        "commands_db",
        "commands_export",
        "commands_model",
        "commands_report",
        "commands_verdict",
        "options",
    },
    "duckdb": set(),
    "sklearn": {"estimators"},
    "pandas": set(),
    "threadpoolctl": set(),
    "distributed": {"workers"},
}
DRAWERS = {"utils", "util", "helpers", "common", "base", "core", "manager", "misc", "tools"}


class Import(NamedTuple):
    room: str
    module: str
    at_the_top: bool
    for_types: bool  # under TYPE_CHECKING: never executed


def room_of(path: Path) -> str:
    return path.relative_to(NNTUNE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, wherever it stands."""

    def found(node: ast.AST, top: bool, types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for name in child.names:
                    yield Import(room_of(path), name.name, top, types)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: a relative import hides which room it means"
                for name in child.names:
                    yield Import(room_of(path), f"{child.module}.{name.name}", top, types)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from found(child, top and not inside, types or typing)

    return found(ast.parse(path.read_text()), True, False)


FILES = sorted(NNTUNE.rglob("*.py"))
IMPORTS = [each for path in FILES for each in imports(path) if room_of(path) != "__init__"]
OURS = [
    each._replace(module=each.module.split(".")[1])
    for each in IMPORTS
    if each.module.startswith("nntune.") and each.module.split(".")[1] != each.room
]
ROOMS = {room_of(path) for path in FILES} - {"__init__"}


def test_every_room_is_in_the_table() -> None:
    assert set(MAY_IMPORT) == ROOMS


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_what_the_table_allows(room: str) -> None:
    used = {each.module for each in OURS if each.room == room and each.module in ROOMS}
    assert used <= MAY_IMPORT[room]


def test_the_table_allows_nothing_that_no_one_needs() -> None:
    used = {(each.room, each.module) for each in OURS}
    assert {(room, other) for room in MAY_IMPORT for other in MAY_IMPORT[room]} - used == set()


def test_arrows_between_rooms_go_one_way() -> None:
    graph = {room: {i.module for i in OURS if i.room == room and not i.for_types} for room in ROOMS}
    order = list(TopologicalSorter(graph).static_order())  # raises on a cycle
    assert order.index("training") < order.index("search") < order.index("cli")


def test_no_room_is_a_drawer() -> None:
    names = {part for path in FILES for part in path.relative_to(NNTUNE).with_suffix("").parts}
    assert names & DRAWERS == set()


@pytest.mark.parametrize("library", sorted(AT_THE_TOP))
def test_a_heavy_library_is_loaded_at_the_top_of_few_rooms(library: str) -> None:
    loaders = {
        each.room
        for each in IMPORTS
        if each.module.split(".")[0] == library and each.at_the_top and not each.for_types
    }
    assert loaders == AT_THE_TOP[library]


@pytest.mark.parametrize("module", ["cli", "options", "report", "progress", "study", "session"])
def test_importing_the_shell_of_the_house_loads_no_heavy_library(module: str) -> None:
    code = (
        f"import sys, nntune.{module}\n"
        "heavy = {'torch', 'optuna', 'sklearn', 'pandas', 'duckdb', 'scipy', 'sqlalchemy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_test_rows_are_out_of_the_searchs_reach() -> None:
    callers = {
        path.relative_to(NNTUNE).as_posix()
        for path in FILES
        for each in imports(path)
        if each.module.endswith((".load_test", ".test_of"))
    }
    assert callers <= {"data/__init__.py", "verdict/testing.py"}

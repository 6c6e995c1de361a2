"""The rules of the source, read from the syntax tree: who may import whom, how long things may be, what opens a file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "broker"

# Each layer may import itself and the layers below it; names on one line are siblings that never import one another.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("v1", "_native", "errors", "config", "boot", "key_file"),
    ("model", "matching", "linkage"),
    ("telemetry",),
    ("policy", "cache", "upstream", "records", "audit"),
    ("exchange",),
    ("search",),
    ("services",),
    ("serve", "client"),
    ("demo",),
    ("cli",),
)
ALLOWED_SIDEWAYS = {("config", "errors"), ("key_file", "errors")}
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# What consumers install must not drag the server in.
CLIENT_MAY_IMPORT = {"client", "v1"}


def _layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _imports(tree: ast.AST) -> set[str]:
    """Every module of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module} if "." in node.module else {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "broker" and name != "broker.__version__"}


def violations(module: str, source: str) -> list[str]:
    """Name every import of a module that goes up or sideways."""
    own = _layer(module)
    found = []
    for imported in sorted(_imports(ast.parse(source))):
        other = _layer(imported)
        if other == own or (own, other) in ALLOWED_SIDEWAYS:
            continue
        wrong = RANK[other] >= RANK[own] or (own == "client" and other not in CLIENT_MAY_IMPORT)
        found += [f"{module} imports {imported}"] if wrong else []
    return found


def _sources() -> list[tuple[str, Path]]:
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if "v1" not in file.relative_to(PACKAGE).parts]
    return [(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), file) for file in files]


@pytest.mark.parametrize(("module", "file"), [pytest.param(*pair, id=pair[0]) for pair in _sources() if _layer(pair[0])])
def test_imports_go_down_only(module: str, file: Path) -> None:
    assert violations(module, file.read_text()) == []


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("broker.model.call", "from broker.exchange import call"),
        ("broker.cache.store", "import broker.policy.store"),
        ("broker.upstream.http", "def f():\n    from broker.cache import store"),
        ("broker.services.status", "from broker.serve import core"),
        ("broker.errors", "from broker import config"),
        ("broker.client.client", "from broker.model.call import Request"),
    ],
)
def test_a_planted_upward_import_is_found(module: str, planted: str) -> None:
    assert len(violations(module, planted)) == 1


def test_every_part_of_the_package_has_a_layer() -> None:
    parts = {_layer(module) for module, _ in _sources()} - {""}
    assert parts <= RANK.keys()


@pytest.mark.parametrize("file", [pytest.param(file, id=module) for module, file in _sources()])
def test_files_and_functions_stay_small_and_say_what_they_own(file: Path) -> None:
    text = file.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a file opens with what it owns"
    assert text.count("\n") <= 400
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f"{node.name}: {node.end_lineno - node.lineno + 1}" for node in functions if node.end_lineno - node.lineno >= 60]
    assert long == []


def test_the_median_function_is_short() -> None:
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for _, file in _sources()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 10


@pytest.mark.parametrize("file", [pytest.param(file, id=module) for module, file in _sources()])
def test_names_are_those_of_the_field(file: Path) -> None:
    names = [node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)]
    assert [name for name in names if name.endswith(("Manager", "Util", "Utils", "Helper", "Base", "Impl"))] == []

"""The daemon never imports the devnet."""

from __future__ import annotations

import ast
from pathlib import Path

import keeper

PACKAGE = Path(keeper.__file__).parent


def imported_modules(source: Path) -> set[str]:
    """Every module that a source file names in an import, absolute or relative, at any depth of its code."""
    package = source.relative_to(PACKAGE.parent).with_suffix("").parts[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module.split(".") if node.module else ())))
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def reaches_devnet(source: Path) -> bool:
    return any(name == "keeper.devnet" or name.startswith("keeper.devnet.") for name in imported_modules(source))


def test_no_module_outside_the_devnet_imports_it() -> None:
    daemon = [source for source in PACKAGE.rglob("*.py") if PACKAGE / "devnet" not in source.parents]
    assert len(daemon) > 5
    assert [str(source) for source in daemon if reaches_devnet(source)] == []


def test_an_import_of_the_devnet_would_be_seen(tmp_path: Path) -> None:
    assert reaches_devnet(PACKAGE / "devnet" / "anvil.py")

"""What the contracts of import-linter cannot see: who needs which package, and who prints."""

import ast
from pathlib import Path

import pytest

import onephonon

SOURCE = Path(onephonon.__file__).parent

#: What a library outside is for, and the only packages or modules that need it.
LIBRARIES = {
    "matplotlib": {"viz/plot"},
    "PIL": {"viz/plot"},
    "typer": {"cli"},
    "rich": {"cli"},
    "h5py": {"maps/io", "core/hdf5_files.py", "core/hdf5_reading.py"},
    "finufft": {
        "scattering/amplitudes/mesh/scattered.py",
        "disorder/pair_transform.py",
        "disorder/smooth_pairs.py",
    },
    "numba": {"core/compiled.py"},
    "gemmi": {"crystal", "network", "maps", "realspace/writing.py", "viz/trajectory"},
}


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text("utf-8"))


def imported(tree):
    """Libraries that a module imports, also inside functions and for type checking."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_are_imported_where_they_are_needed(library):
    users = [path for path, tree in modules() if library in imported(tree)]
    assert users
    allowed = LIBRARIES[library]
    assert [p for p in users if not any(p == a or p.startswith(a + "/") for a in allowed)] == []


def test_only_the_command_line_prints_or_exits():
    for path, tree in modules():
        if path.startswith("cli/") or path == "__main__.py":
            continue
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"print", "exit", "quit"}, path

"""The house: every module is a room, and imports go one way."""

import ast
from pathlib import Path

import pytest

import onephonon

SOURCE = Path(onephonon.__file__).parent

#: The rooms, from the cellar up; a room knows only those before it. A package is one room.
ORDER = [
    "errors",
    "units",
    "tensors",
    "compiled",
    "memory",
    "eigen",
    "files",
    "lattice",
    "form_factors",
    "crystal",
    "solvent",
    "ranges",
    "standard_cell",
    "zone_path",
    "structures",
    "bodies",
    "contacts",
    "interfaces",
    "network",
    "springs",
    "stiffness",
    "bloch",
    "dynamics",
    "unfolding",
    "chunks",
    "points",
    "transform",
    "density",
    "deposit",
    "gridding",
    "slopes",
    "scattered",
    "quadratic",
    "elimination",
    "condensation",
    "condensed_form",
    "zone_mean",
    "solver",
    "rigidity",
    "scattering",
    "jacobian",
    "laue",
    "mapping",
    "supercell",
    "sampling",
    "inputs",
    "engines",
    "assembly",
    "model",
    "softest",
    "spectra",
    "tls",
    "trajectory",
    "verify",
    "maps",
    "compare",
    "refine",
    "formats",
    "plot",
    "view",
    "report",
    "data",
    "cli",
]

#: The doors: what a user opens may lead to any room.
DOORS = ["__init__", "__main__"]

#: Rooms that may know only these others, wherever they stand.
ONLY = {"supercell": {"crystal", "errors"}}

#: What a package outside is for, and the only rooms that need it.
GUESTS = {
    "matplotlib": {"plot"},
    "PIL": {"plot"},
    "typer": {"cli"},
    "rich": {"cli"},
    "h5py": {"formats"},
    "finufft": {"scattered"},
    "numba": {"compiled"},
    "gemmi": {
        "form_factors",
        "crystal",
        "solvent",
        "structures",
        "interfaces",
        "maps",
        "compare",
        "formats",
    },
}


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).with_suffix("").parts, ast.parse(path.read_text("utf-8"))


def room_of(parts):
    return parts[0]


def imported_rooms(parts, tree):
    """Rooms that a module imports, also inside functions and for type checking."""
    package = parts if parts[-1] == "__init__" else (*parts[:-1], "")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level]
            names = [*base, *(node.module.split(".") if node.module else [])]
            yield from [names[0]] if names else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onephonon"):
            names = node.module.split(".")[1:]
            yield from names[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("onephonon."):
                    yield alias.name.split(".")[1]


def packages_outside(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


def test_every_module_is_a_room():
    found = {room_of(parts) for parts, _ in modules()} - set(DOORS)
    assert found - set(ORDER) == set(), "new rooms: put them where they belong in ORDER"


def test_imports_go_one_way():
    wrong = []
    for parts, tree in modules():
        room = room_of(parts)
        if room in DOORS:
            continue
        known = {room, *ORDER[: ORDER.index(room)]} if room in ORDER else set()
        for other in imported_rooms(parts, tree):
            if other not in known and other != "__version__":
                wrong.append(f"{'.'.join(parts)} imports {other}")
    assert wrong == []


@pytest.mark.parametrize("room", ONLY)
def test_rooms_that_stand_apart(room):
    for parts, tree in modules():
        if room_of(parts) == room:
            assert set(imported_rooms(parts, tree)) <= ONLY[room]


@pytest.mark.parametrize("package", GUESTS)
def test_packages_stay_in_their_rooms(package):
    users = {room_of(parts) for parts, tree in modules() if package in packages_outside(tree)}
    assert users
    assert users <= GUESTS[package]


def test_only_the_command_line_prints_or_exits():
    for parts, tree in modules():
        if room_of(parts) in ("cli", "__main__"):
            continue
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"print", "exit", "quit"}, ".".join(parts)


@pytest.mark.parametrize(
    ("parts", "source", "rooms"),
    [
        (("cli",), "from .model import OnePhonon", ["model"]),
        (("cli",), "def f():\n    from .data import crambin_path", ["data"]),
        (("cli",), "from . import plot, maps", ["plot", "maps"]),
        (("formats", "npz"), "from ..maps import DiffuseMap", ["maps"]),
        (("formats", "npz"), "from .qlist import read", ["formats"]),
        (("formats", "__init__"), "from .qlist import read", ["formats"]),
        (("formats", "__init__"), "from ..files import replacing", ["files"]),
        (
            ("lattice",),
            "import onephonon.model\nfrom onephonon.plot import draw",
            ["model", "plot"],
        ),
        (("lattice",), "import torch\nfrom math import pi", []),
    ],
)
def test_imports_are_seen(parts, source, rooms):
    # What this file relies on: an import in any form is found, and its room named.
    assert list(imported_rooms(parts, ast.parse(source))) == rooms

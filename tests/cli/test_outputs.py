"""Outputs of commands: an input is never overwritten, and no two outputs are the same file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import typer

from commands import run_command
from onephonon import DiffuseMap, FileError, MapGrid, write_map
from onephonon.cli import app
from onephonon.cli.checks import Writes
from structures import DATA

RANGES = ["--h", -1, 1, 2, "--k", -1, 1, 2, "--l", -1, 1, 2]

#: Options and arguments that name files to be written, by command.
WRITTEN = {
    "compare": {"csv", "json", "png", "output"},
    "contacts": {"output"},
    "convert": {"output"},
    "demo": {"output"},
    "displacements": {"output"},
    "fit": {"output"},
    "info": {"png"},
    "modes": {"output", "animate"},
    "patterson": {"output", "difference", "csv", "json", "png"},
    "simulate": {"output"},
    "verify": set(),
    "view": {"output"},
    "visualize": {"output", "animate"},
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """An input of every kind."""
    grid = MapGrid((-1.0, -1.0, -1.0), (0.5, 0.5, 0.5), (5, 5, 5))
    values = np.arange(125.0).reshape(5, 5, 5) + 1
    diffuse = DiffuseMap.on_grid(values, grid, (20, 21, 22, 90, 90, 90), spacegroup="P 1")
    found = {name: tmp_path / f"data.{name}" for name in ("npz", "h5", "hkl")}
    for path in found.values():
        write_map(diffuse, path)
    for name in ("pdb", "png"):  # a picture is no map, but a name can say anything
        found[name] = tmp_path / f"model.{name}"
    found["pdb"].write_bytes((DATA / "2ol9.pdb").read_bytes())
    found["q"] = tmp_path / "q.npz"
    np.savez(found["q"], q_vectors=np.array([[0.1, 0.2, 0.3]]))
    os.link(found["npz"], tmp_path / "linked.npz")
    (tmp_path / "pointed.npz").symlink_to(found["npz"])
    return found


@pytest.mark.parametrize(
    "command",
    [
        "compare {npz} {h5} --csv {npz}",
        "compare {npz} {h5} --json {h5}",
        "compare {npz} {h5} -o {npz}",
        "compare {npz} {h5} -o {h5}",
        "compare {pdb} {h5} --csv {pdb}",
        "compare {npz} {hkl} --cell-from {pdb} --csv {pdb}",
        "contacts {pdb} -o {pdb}",
        "convert {npz} {npz}",
        "convert {npz} {folder}/linked.npz",
        "convert {npz} {folder}/pointed.npz",
        "convert {npz} {folder}/../{name}/data.npz",
        "convert {hkl} {h5} --cell-from {h5}",
        "modes {pdb} --animate {pdb}",
        "simulate {pdb} --q {q} -o {q}",
        "view {npz} --against {h5} -o {page}",
        "visualize {npz} {pdb} -o {picture}",
        "visualize {npz} --against {pdb} --animate {film}",
        "info {npz} --cell-from {pdb} --png {picture}",
    ],
)
def test_an_input_is_never_overwritten(
    tmp_path: Path, files: dict[str, Path], command: str
) -> None:
    # Where the ending must be that of a picture, a link leads to the input.
    links = {"picture": "link.png", "page": "link.html", "film": "link.gif"}
    target = files["h5"] if "--against {h5}" in command else files["pdb"]
    for name in links.values():
        (tmp_path / name).symlink_to(target)
    words = {name: tmp_path / link for name, link in links.items()}
    words |= files | {"folder": tmp_path, "name": tmp_path.name}
    before = {path: path.read_bytes() for path in files.values() if path.exists()}
    with pytest.raises(FileError, match="is an input"):
        run_command(*command.format(**words).split(), "--force")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "command",
    [
        "compare {npz} {h5} --csv {folder}/out --json {folder}/out",
        "compare {npz} {h5} --csv {folder}/out.npz -o {folder}/./out.npz",
        "visualize {npz} -o {folder}/a.png --plane hk0 --profile --animate {folder}/link.gif",
    ],
)
def test_two_outputs_are_two_files(tmp_path: Path, files: dict[str, Path], command: str) -> None:
    (tmp_path / "link.gif").symlink_to(tmp_path / "a-profile.png")
    with pytest.raises(FileError, match="are the same output"):
        run_command(*command.format(folder=tmp_path, **files).split(), "--force")


def test_results_of_a_fit_do_not_replace_its_data(tmp_path: Path, files: dict[str, Path]) -> None:
    data = files["h5"].rename(tmp_path / "model.h5")
    before = data.read_bytes()
    with pytest.raises(FileError, match="is an input"):
        run_command("fit", files["pdb"], data, "-o", tmp_path, "--force")
    assert data.read_bytes() == before


def test_every_command_says_which_files_it_writes() -> None:
    found = {}
    for command in app.registered_commands:
        assert command.callback is not None
        options = typer.main.get_params_from_function(command.callback)
        hints = command.callback.__annotations__
        paths = {n for n in options if Path in (_kind(hints[n]), *get_args(_kind(hints[n])))}
        written = {
            name for name in paths if any(isinstance(x, Writes) for x in get_args(hints[name]))
        }
        found[command.name or command.callback.__name__] = written
        # Whatever has the name of an output is one.
        assert not (paths - written) & {"output", "csv", "json", "png", "animate"}
    assert found == WRITTEN


def _kind(annotation: object) -> object:
    return get_args(annotation)[0] if get_args(annotation) else annotation


def test_a_device_is_not_replaced(files: dict[str, Path]) -> None:
    with pytest.raises(FileError, match="is a device"):
        run_command("compare", files["npz"], files["h5"], "--csv", "/dev/null", "--force")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("command", ["modes {pdb}", "demo", "fit {pdb} {h5}"])
def test_a_folder_that_cannot_be_made_is_an_error(files: dict[str, Path], command: str) -> None:
    below_a_file = files["hkl"] / "results"
    with pytest.raises(FileError, match="cannot be created as a folder"):
        run_command(*command.format(**files).split(), "-o", below_a_file)

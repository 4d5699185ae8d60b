"""Commands that end early: what they leave, what they say, and that they can be continued."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from commands import run_command
from onephonon import read_map
from onephonon.cli import app
from onephonon.cli.endings import interruption_message
from onephonon.maps.io import streaming
from structures import DATA

if sys.platform == "win32":
    pytest.skip("signals and limits of Unix", allow_module_level=True)

MAP = ["simulate", str(DATA / "5zck.pdb"), "--h", -3, 3, 3, "--k", -4, 4, 2, "--l", -6, 5, 2]
MAP += ["--d-min", 2, "--engine", "mesh"]

#: The command line with steps of a single chunk, in which something happens at a known moment.
SCRIPT = """
import os, resource, signal, sys
from onephonon.cli import main
from onephonon.maps.io import hdf5, streaming
from onephonon.model import map_writing

map_writing.SLAB_BYTES, hdf5.CHUNK_BYTES = 1, 500
what, after = sys.argv.pop(1), int(sys.argv.pop(1))
write, calls = streaming.UnfinishedMap.step, []


def step(self, rows, values, n):
    if len(calls) == after:
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "full":
            size = os.path.getsize(self._partial)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    calls.append(n)
    write(self, rows, values, n)


streaming.UnfinishedMap.step = step
main()
"""


def run(what: str, after: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, what, str(after), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=os.environ
    )


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onephonon.model.map_writing.SLAB_BYTES", 1)
    monkeypatch.setattr("onephonon.maps.io.hdf5.CHUNK_BYTES", 500)


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("what", ["killed", "full"])
def test_a_map_that_was_stopped_is_continued(tmp_path: Path, what: str) -> None:
    path = tmp_path / "map.h5"
    done = run(what, 2, *MAP, "-o", path)
    assert "Traceback" not in done.stderr
    told = f"{path}.partial keeps what was computed (2 of 7 steps); repeat the same command"
    if what == "killed":
        assert done.returncode == -9
    else:  # as on a full disk: HDF5 used to end in a segmentation fault
        assert done.returncode == 1
        assert f"{path}: the file becomes larger than the system allows" in done.stderr
        assert told in done.stderr
    left = {item.name for item in tmp_path.iterdir()}
    assert left - {".map.h5.lock"} == {"map.h5.partial"}
    output = run_command(*MAP, "-o", path)
    assert "2 of 7 steps are already done" in output
    run_command(*MAP, "-o", tmp_path / "whole.h5")
    assert {item.name for item in tmp_path.iterdir()} == {"map.h5", "whole.h5"}
    found, whole = read_map(path).intensity, read_map(tmp_path / "whole.h5").intensity
    assert np.array_equal(found, whole, equal_nan=True)


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("after", [0, 2])
def test_ctrl_c_says_what_is_left_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    write, path = streaming.UnfinishedMap.step, tmp_path / "map.h5"

    def step(self: streaming.UnfinishedMap, rows: slice, values: Any, n: int) -> None:
        if n == after:
            raise KeyboardInterrupt
        write(self, rows, values, n)

    monkeypatch.setattr(streaming.UnfinishedMap, "step", step)
    result = CliRunner().invoke(app, [str(word) for word in (*MAP, "-o", path)])
    assert result.exit_code == 130
    assert result.exception is not None
    message = interruption_message(result.exception)
    left = [item.name for item in tmp_path.iterdir()]
    if after:
        assert message == (
            f"interrupted; {path}.partial keeps what was computed (2 of 7 steps); repeat the same "
            "command to continue"
        )
        assert left == ["map.h5.partial"]
    else:
        assert message == "interrupted; no unfinished file was left"
        assert left == []


#: Conversions into every format, with a limit on the size of files.
LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from onephonon import DiffuseMap, FileError, MapGrid, OnePhonon, write_map
from onephonon.viz.plot.overview import draw
from onephonon.viz.plot.saving import save
from onephonon.viz.page.writing import write_page
from onephonon.viz.trajectory.mode_trajectory import mode_pattern
from onephonon.viz.trajectory.nmd import write_nmd
from onephonon.viz.trajectory.structure_files import write_animation

folder, structure = Path(sys.argv[1]), sys.argv[2]
grid = MapGrid((-9.0, -9.0, -9.0), (1.0, 1.0, 1.0), (19, 19, 19))
values = np.random.default_rng(0).random(grid.shape)
diffuse = DiffuseMap.on_grid(values, grid, (10, 11, 12, 90, 90, 90), spacegroup="P 1")
pattern = mode_pattern(OnePhonon(structure), (0, 0, 0.5), 0)
figure = draw(diffuse, "map")
writers = {
    **{
        f"map.{ending}": lambda path: write_map(diffuse, path)
        for ending in ("npz", "h5", "nxs", "lat", "npy", "mtz", "ccp4", "hkl")
    },
    "map.png": lambda path: save(figure, path),
    "map.pdf": lambda path: save(figure, path),
    "map.html": lambda path: write_page(diffuse, path),
    "mode.pdb": lambda path: write_animation(pattern, path),
    "mode.cif": lambda path: write_animation(pattern, path),
    "mode.nmd": lambda path: write_nmd([pattern], path),
}
limit = 3000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for name, write in writers.items():
    try:
        write(folder / name)
    except FileError as error:
        print(name, error)
    else:
        print(name, "is said to be complete")
print("left:", sorted(path.name for path in folder.iterdir()))
"""


def test_a_file_that_cannot_be_completed_is_one_error_in_every_format(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(DATA / "2ol9.pdb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    *lines, left = done.stdout.splitlines()
    assert len(lines) == 14
    for line in lines:
        name = line.split()[0]
        assert line.startswith(f"{name} {tmp_path / name}: the file becomes larger"), line
    assert left == "left: []"

"""Memory is known, stated, and what needs more is refused before anything is allocated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from commands import run_command
from onephonon import InputError, OnePhonon
from onephonon.cli.checks import SHELLS
from onephonon.compare.settings import Settings
from onephonon.core import memory
from onephonon.core.memory import available_memory, check_memory, state_memory
from onephonon.maps.isotropic import MAX_SHELLS, Isotropic
from structures import DATA


@pytest.fixture
def one_gigabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 1_000_000_000)


@pytest.mark.usefixtures("one_gigabyte")
def test_the_error_names_need_supply_and_advice() -> None:
    check_memory(0.9e9, "small", "")
    with pytest.raises(InputError) as error:
        check_memory(17.4e9, "a map", "write .h5")
    assert str(error.value) == (
        "a map: about 17.4 GB of memory are needed, and 1 GB are available; write .h5"
    )


def test_nothing_is_refused_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    check_memory(1e30, "a map", "")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_limits_of_the_process_count() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "from onephonon.core.memory import available_memory; print(available_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2**31


def test_control_groups_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "batch"
    (group / "job").mkdir(parents=True)
    (group / "memory.max").write_text("5000\n")
    (group / "memory.current").write_text("3000\n")
    (group / "memory.stat").write_text("anon 10\ninactive_file 500\n")
    (group / "job" / "memory.max").write_text("max\n")
    (group / "job" / "memory.current").write_text("3000\n")
    assert memory._left(group, *memory.V2) == 2500
    assert memory._left(group / "job", *memory.V2) is None
    assert memory._left(tmp_path, *memory.V2) is None
    monkeypatch.setattr(memory, "_of_machine", lambda: 4000)
    monkeypatch.setattr(memory, "_of_group", lambda: 2500)
    assert available_memory() == 2500


WIDE = ["--h", -75, 75, 4, "--k", -75, 75, 4, "--l", -75, 75, 4]  # 601 points along each axis


@pytest.mark.usefixtures("one_gigabyte")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["simulate", *WIDE, "--engine", "mesh", "-o", "{folder}/map.npz"],
            r"map: 2\.17e\+08 points: about 17\.8 GB of memory are needed, and 1 GB are available; "
            ".*write .h5",
        ),
        (
            ["simulate", *WIDE, "--engine", "direct", "-o", "{folder}/map.h5"],
            r"map: 2\.17e\+08 points: about 52\.5 GB of memory",
        ),
        (
            ["modes", "--animate", "{folder}/a.pdb", "--cells", 1000, 1000, 1000],
            r"a block of 1000000000 cells .* about 25\.5 TB .*; show fewer cells",
        ),
        (
            ["modes", "--animate", "{folder}/a.cif", "--cells", 9, 9, 9, "--frames", 1000],
            r"a\.cif: 1000 frames of .* atoms: about .* GB",
        ),
        (
            ["modes", "--dos-mesh", 3000, 3000, 3000],
            "mesh of 3000 x 3000 x 3000 wavevectors .*; take a coarser mesh",
        ),
        (["modes", "--points", 10**9], r"dispersion at 1000000000 wavevectors .* 385 GB"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(
    tmp_path: Path, command: list[object], message: str
) -> None:
    name, *options = (str(word).format(folder=tmp_path) for word in command)
    with pytest.raises(InputError, match=message):
        run_command(name, DATA / "2ol9.pdb", *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--shells", "--remove-shells"])
def test_too_many_shells(tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match=f"{option} 100000000: must be 1 or more and at most"):
        run_command("compare", tmp_path / "a.h5", tmp_path / "b.h5", option, 10**8)
    assert SHELLS.high == MAX_SHELLS
    for settings in (lambda: Isotropic("line", MAX_SHELLS + 1), lambda: Settings(n_shells=10**6)):
        with pytest.raises(InputError, match="shells: give at most 1,000"):
            settings()


def test_large_needs_are_stated_and_small_ones_are_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        state_memory(1e6, "a few contacts", "")
        assert not caplog.text
        state_memory(0.6e9, "2000000 contacts", "")
    assert "2000000 contacts: about 600 MB of memory" in caplog.text


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_line_states_memory_unless_quiet(
    monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    monkeypatch.setattr(memory, "STATED_BYTES", 1000)
    arguments = ["modes", DATA / "2ol9.pdb", "--dos-mesh", 4, 4, 4, "--cutoff", 6]
    output = run_command(*arguments, *(["--quiet"] if quiet else []))
    assert ("density of states on a mesh" in output) is not quiet


def test_the_memory_of_a_map_is_stated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = OnePhonon(DATA / "2ol9.pdb", (-1, 1, 2), (-1, 1, 2), (-1, 1, 2))
    with caplog.at_level("INFO"):
        model.write_map(tmp_path / "map.npz")
    assert "map: 125 points, about 400 MB of memory" in caplog.text


def test_a_disk_that_may_become_full_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onephonon.model.map_writing.free_space", lambda _: 100)
    model = OnePhonon(DATA / "2ol9.pdb", (-1, 1, 2), (-1, 1, 2), (-1, 1, 2), engine="mesh")
    with pytest.warns(UserWarning, match="needs up to 500 bytes, and 100 bytes are free"):
        model.write_map(tmp_path / "map.h5")

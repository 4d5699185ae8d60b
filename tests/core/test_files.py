"""Safe writing: nothing is lost, nothing half written is taken for whole, errors are clear."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from onephonon import FileError
from onephonon.core import files
from onephonon.core.files import (
    check_outputs,
    check_writable,
    in_bytes,
    locked,
    make_folder,
    replacing,
    same_file,
    write_error,
)
from onephonon.core.hdf5_files import WrittenFile, opened


def write(path: Path, text: str = "new", force: bool = False) -> None:
    with replacing(path, force) as temporary:
        temporary.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_file_that_appears_while_another_is_written_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def slowly(force: bool) -> None:
        with replacing(path, force) as temporary:
            temporary.write_text("late")
            path.write_text("early")

    with pytest.raises(FileError, match="meanwhile and is kept"):
        slowly(force=False)
    assert path.read_text() == "early"
    slowly(force=True)
    assert path.read_text() == "late"
    assert names(tmp_path) == ["a.txt"]


def test_writing_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    write(tmp_path / "a.txt")
    with pytest.raises(FileError, match="--force"):
        write(tmp_path / "a.txt")
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path, wrong = tmp_path / "a.txt", []
    texts = [str(n) * 100_000 for n in range(4)]

    def again(text: str) -> None:
        for _ in range(5):
            write(path, text, force=True)
            if path.read_text() not in texts:
                wrong.append(text)

    threads = [threading.Thread(target=again, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert names(tmp_path) == ["a.txt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.txt", tmp_path / "a.txt"
    target.write_text("old")
    link.symlink_to(target)
    write(link, force=True)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert names(tmp_path / "there") == ["a.txt"]


@pytest.mark.parametrize(
    "name", ["ä" * 120 + ".txt", "a b;'\"\n.txt", "-x.txt", "n" * 251 + ".txt"]
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize("name", ["n" * 300, "no/a.txt", "."])
def test_names_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError):
        check_writable(tmp_path / name)


def test_permissions_are_those_of_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("x")
    write(tmp_path / "a.txt")
    mode = (tmp_path / "plain.txt").stat().st_mode
    assert (tmp_path / "a.txt").stat().st_mode == mode


def test_a_full_disk_is_named_with_the_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(files, "free_space", lambda _: 12_300)

    def fails() -> None:
        with replacing(path, force=True, size=5000):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError) as error:
        fails()
    assert str(error.value) == (
        f"{path}: the disk is full: 12.3 kB are free in {tmp_path}, 5 kB are needed; make room, or "
        "choose another place"
    )
    too_large = replacing(path, force=True, size=20_000_000)
    with pytest.raises(FileError, match=r"needs 20 MB, but 12\.3 kB are free"):
        too_large.__enter__()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_errors_of_the_system_are_told_apart() -> None:
    path = Path("a.txt")
    for code, words in (
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "larger than the system allows"),
        (errno.EROFS, "cannot be written to (Read-only file system)"),
        (errno.EIO, "cannot be written (Input/output error)"),
    ):
        assert words in str(write_error(path, OSError(code, os.strerror(code))))
    assert "5 requested and 3 written" in str(
        write_error(path, OSError("5 requested and 3 written"))
    )


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (8.68e8, "868 MB")]
)
def test_sizes(n: float, text: str) -> None:
    assert in_bytes(n) == text


def test_a_folder_without_rights_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root
    with pytest.raises(FileError, match="cannot be written to"):
        make_folder(tmp_path / "results")
    with pytest.raises(FileError, match="cannot be written to"):
        check_writable(tmp_path / "a.txt")


def test_outputs_are_told_from_inputs(tmp_path: Path) -> None:
    one, other = tmp_path / "a.txt", tmp_path / "b.txt"
    one.write_text("x")
    os.link(one, other)
    with pytest.raises(FileError, match="is an input"):
        check_outputs([other], [one], force=True)
    with pytest.raises(FileError, match="are the same output"):
        check_outputs([tmp_path / "c", tmp_path / "." / "c"])
    check_outputs([tmp_path / "c", tmp_path / "d"], [one])
    assert not same_file(tmp_path / "c", tmp_path / "d")


# ---- locks ----------------------------------------------------------------------------------

HOLD = """
import sys, time
from onephonon.core.files import locked
with locked(sys.argv[1], "map.h5"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(lock: Path) -> None:
    with locked(lock, "map.h5"):
        pass


def test_one_program_holds_a_lock_and_a_dead_one_does_not(tmp_path: Path) -> None:
    lock = tmp_path / ".map.h5.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FileError, match=r"map\.h5 is being written by another onephonon"):
            hold(lock)
        holder.kill()
    assert lock.exists()  # as a killed program leaves it
    with locked(lock, "map.h5"), pytest.raises(FileError, match="is being written"):
        hold(lock)
    assert not lock.exists()


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be locked"):
        hold(tmp_path / "no" / ("n" * 300))


# ---- HDF5 -----------------------------------------------------------------------------------


def test_hdf5_through_python_is_the_same_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((20, 30, 40))

    def fill(file: h5py.File) -> None:
        file.create_dataset("x", data=values, chunks=(5, 10, 10), compression="gzip")
        file["x"][:5] = 1.0
        file.attrs["text"] = "words"

    with opened(tmp_path / "a.h5", "w") as (file, written):
        fill(file)
        file.flush()
        written.check()
    with opened(tmp_path / "a.h5", "r+") as (file, _):
        file["x"][5] = 2.0
    with h5py.File(tmp_path / "b.h5", "w") as file:
        fill(file)
        file["x"][5] = 2.0
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        assert np.array_equal(a["x"], b["x"])
        assert a.attrs["text"] == b.attrs["text"]


@pytest.mark.parametrize("limit", [0, 100, 5000, 100_000])
def test_hdf5_on_a_full_disk_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    class Full:
        """A file on a disk with room for `limit` bytes."""

        def __init__(self, file: object) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            room = limit - self.file.tell()
            if room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self.file.write(data[:room]))

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    begin = WrittenFile.__init__

    def on_a_small_disk(self: WrittenFile, *arguments: object) -> None:
        begin(self, *arguments)
        self._file = Full(self._file)

    monkeypatch.setattr(WrittenFile, "__init__", on_a_small_disk)
    values = np.random.default_rng(0).random((50, 50, 50))

    def fails() -> None:
        with opened(tmp_path / "a.h5", "w") as (file, _):
            for name in "xyz":
                file.create_dataset(name, data=values, chunks=(5, 10, 10), compression="gzip")
                file.flush()

    with pytest.raises(FileError, match="the disk is full"):
        fails()

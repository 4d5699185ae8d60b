"""Compiled loops: no state of their cache on disk changes or breaks them."""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile

from onephonon.core.compiled import compiled

LOOP = """
def total(values):
    found = 0.0
    for value in values:
        found += 2 * value
    return found
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(found))
    return found


@pytest.fixture
def loop(tmp_path: Path) -> Callable[[], Any]:
    """Compiles the loop as a new program would."""
    source = tmp_path / "loop.py"
    source.write_text(LOOP)

    def make() -> Any:
        spec = importlib.util.spec_from_file_location("loop", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return compiled(module.total)

    return make


def check(total: Any, *, hits: int) -> None:
    assert total(np.array([1.0, 2.0, 4.0])) == 14.0
    assert sum(total.stats.cache_hits.values()) == hits


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "words", "folder"])
def test_a_damaged_cache_is_written_anew(
    folder: Path, loop: Callable[[], Any], ending: str, damage: str
) -> None:
    check(loop(), hits=0)
    check(loop(), hits=1)  # it is of use
    files = list(folder.rglob(f"*{ending}"))
    assert files
    for path in files:
        content = path.read_bytes()
        path.unlink()
        if damage == "folder":
            path.mkdir()
            continue
        damaged = {"empty": b"", "cut": content[: len(content) // 2], "zeros": bytes(len(content))}
        path.write_bytes(damaged.get(damage, b"not a cache"))
    check(loop(), hits=0)
    if damage != "folder":
        check(loop(), hits=1)


def test_a_full_disk_or_a_folder_without_rights(
    folder: Path, loop: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Iterator[None]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(IndexDataCacheFile, "_open_for_write", full)
    check(loop(), hits=0)
    assert not list(folder.rglob("*.nb?"))


def test_no_folder_at_all(folder: Path, loop: Callable[[], Any], tmp_path: Path) -> None:
    folder.write_text("a file in place of the folder")  # as root, rights would not keep it out
    make = loop
    total = make()
    check(total, hits=0)
    assert folder.is_file()
    assert list(tmp_path.iterdir())


@pytest.mark.usefixtures("folder")
def test_a_change_of_a_file_beside_it_compiles_a_loop_again(
    loop: Callable[[], Any], tmp_path: Path
) -> None:
    check(loop(), hits=0)
    check(loop(), hits=1)
    # It may hold a function that the loop calls.
    (tmp_path / "neighbour.py").write_text("")
    check(loop(), hits=0)
    check(loop(), hits=1)

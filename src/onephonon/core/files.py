"""Safe writing of files: no silent overwriting, no partly written file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FileError


def check_writable(path: str | os.PathLike[str], force: bool = False) -> Path:
    """Check, before a long computation, that the output can be written.

    Raises
    ------
    FileError
        If the file exists and `force` is not set, or its folder is missing.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileError(f"{path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"{path}: the folder {path.parent} cannot be written to; choose another")
    if path.exists() and not force:
        raise FileError(f"{path} exists; choose another name, or overwrite it with --force")
    return path


@contextmanager
def replacing(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder that is renamed to `path` when complete.

    If the block raises, or is interrupted, nothing is left behind and an older file stays.
    """
    path = check_writable(path, force)
    try:
        with _temporary(path) as temporary:
            yield temporary
            temporary.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error}); choose another place") from error


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield an unused name in the same folder, removed afterwards."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)

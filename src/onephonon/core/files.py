"""Safe writing of files: every output of the program is written through this module.

No file is overwritten unsaid or left half written, two programs never write the same result at
the same time, and a full disk is one clear error.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import FileError

#: Errors of a disk or quota that is full.
FULL = (errno.ENOSPC, errno.EDQUOT)

#: Errors of a place that cannot be written to.
PROTECTED = (errno.EACCES, errno.EPERM, errno.EROFS)

#: Characters of a file's name in that of its temporary file: names may have at most 255 bytes.
NAME_PART = 40


def check_writable(path: str | os.PathLike[str], force: bool = False) -> Path:
    """Check, before a long computation, that the output can be written.

    Raises
    ------
    FileError
        If the file exists and `force` is not set, is no regular file, or its folder is missing.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise FileError(f"{path} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise FileError(f"{path}: there is no folder {path.parent}; make it first")
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise FileError(f"{path} is a device or pipe, not a file; name a file")
        if not os.access(path.parent, os.W_OK):
            raise FileError(
                f"{path}: the folder {path.parent} cannot be written to; choose another"
            )
        if path.exists() and not force:
            raise FileError(f"{path} exists; choose another name, or overwrite it with --force")
    except OSError as error:  # such as a name that is too long
        raise write_error(path, error) from error
    return path


def check_outputs(
    outputs: Iterable[str | os.PathLike[str]],
    inputs: Iterable[str | os.PathLike[str]] = (),
    force: bool = False,
) -> None:
    """Check all outputs of a computation before it starts.

    Parameters
    ----------
    outputs, inputs : paths
        Files to be written, and files that are read.
    force : bool
        Existing files may be overwritten; an input never.

    Raises
    ------
    FileError
        If an output is one of the inputs, two outputs are the same file, or one cannot be written.
    """
    checked: list[Path] = []
    named = [Path(path) for path in outputs]
    check_not_inputs(named, inputs)
    for output in named:
        for other in checked:
            if same_file(output, other):
                raise FileError(f"{output} and {other} are the same output; name two files")
        checked.append(check_writable(output, force))


def check_not_inputs(
    outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str]]
) -> None:
    """Check that no output is a file that is read.

    Raises
    ------
    FileError
        If one is, also through a link.
    """
    known = [Path(path) for path in inputs]
    for output in map(Path, outputs):
        for path in known:
            if same_file(output, path):
                raise FileError(
                    f"{output} is an input ({path}) and would be overwritten; choose another name "
                    "for the output"
                )


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file, also through links."""
    with suppress(OSError, ValueError):
        if one.exists() and other.exists():
            return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder for results, if it does not exist, and check that files fit into it.

    Raises
    ------
    FileError
        If it cannot be created or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileError(f"{path} is a file; name a folder for the results") from error
    except OSError as error:
        raise FileError(
            f"{path}: cannot be created as a folder ({reason(error)}); choose another"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FileError(f"{path}: the folder cannot be written to; choose another")
    return path


@contextmanager
def replacing(
    path: str | os.PathLike[str], force: bool = False, size: int | None = None
) -> Iterator[Path]:
    """Yield a temporary path in the same folder that is renamed to `path` when complete.

    If the block raises, or is interrupted, nothing is left behind and an older file stays.

    Parameters
    ----------
    path : path
    force : bool
        Overwrite an older file; without it, a file that appears meanwhile is kept, too.
    size : int, optional
        Bytes that will be written, if they are known: checked against the free space.

    Raises
    ------
    FileError
        If the file exists and `force` is not set, or cannot be written.
    """
    path = check_writable(path, force)
    target = Path(os.path.realpath(path))  # a link stays a link
    try:
        if size is not None:
            check_space(path, size)
        with _temporary(target) as temporary:
            yield temporary
            publish(temporary, target, force)
    except OSError as error:
        raise write_error(path, error, size) from error


def publish(temporary: Path, path: Path, force: bool) -> None:
    """Rename a complete file, after its content is safely on the disk.

    Raises
    ------
    FileError
        Without `force`, if `path` has appeared meanwhile.
    OSError
        If the disk is full (network file systems say so late), or renaming fails.
    """
    with temporary.open("r+b") as file:
        os.fsync(file.fileno())
    if force:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # unlike renaming, never overwrites
    except FileExistsError as error:
        raise FileError(
            f"{path} was written by another program meanwhile and is kept; choose another name, "
            "or overwrite it with --force"
        ) from error
    except OSError:  # a file system without hard links
        check_writable(path)
        temporary.replace(path)
    else:
        temporary.unlink()


@contextmanager
def locked(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Hold the right to write a result that takes long, for as long as the block lasts.

    The system releases the lock of a program that ends in any way, so no lock is ever stale; where
    a network file system has no locks, a file that names the process takes its place.

    Parameters
    ----------
    path : path
        Of the lock's file, which is removed at the end.
    what : str
        Name of the result in the error.

    Raises
    ------
    FileError
        If another program, or thread, holds the lock.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    lock = FileLock(path, timeout=0, is_singleton=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise FileError(
            f"{what} is being written by another onephonon that is still running; wait for it or "
            "stop it, or choose another name"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise FileError(
            f"{what}: cannot be locked with {path} ({reason(error)}); choose another place"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # first, so that nobody gets a lock whose file then goes
            path.unlink()
        lock.release()


def check_space(path: Path, size: int) -> None:
    """Check that the disk has room for a file.

    Raises
    ------
    FileError
        If there is less than `size` bytes; names both.
    """
    free = free_space(path)
    if free is not None and size > free:
        raise FileError(
            f"{path}: needs {in_bytes(size)}, but {in_bytes(free)} are free in "
            f"{_folder(path)}; make room, or choose another place"
        )


def free_space(path: Path) -> int | None:
    """Free bytes in the folder of a path; None if that is not known."""
    try:
        return shutil.disk_usage(_folder(path)).free
    except OSError:
        return None


def write_error(path: Path, error: BaseException, size: int | None = None) -> FileError:
    """One clear error for a file that could not be written.

    Parameters
    ----------
    path : Path
    error : exception
        Raised by the system.
    size : int, optional
        Bytes that were to be written, if known.
    """
    code = getattr(error, "errno", None)
    if code in FULL:
        needed = "" if size is None else f", {in_bytes(size)} are needed"
        free = free_space(path)
        left = "" if free is None else f": {in_bytes(free)} are free in {_folder(path)}{needed}"
        return FileError(f"{path}: the disk is full{left}; make room, or choose another place")
    if code == errno.EFBIG:
        return FileError(
            f"{path}: the file becomes larger than the system allows (ulimit -f, or the file "
            "system); raise the limit, or choose another place"
        )
    if code in PROTECTED:
        return FileError(
            f"{path}: cannot be written to ({reason(error)}); choose another place or its rights"
        )
    return FileError(f"{path}: cannot be written ({reason(error)}); choose another place")


def reason(error: BaseException) -> str:
    """What the system says, without the name of a temporary file."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def in_bytes(n: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f} bytes"


def _folder(path: Path) -> Path:
    return Path(os.path.realpath(path)).parent


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield an unused name in the same folder, removed afterwards."""
    temporary = path.with_name(f".{path.name[:NAME_PART]}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()

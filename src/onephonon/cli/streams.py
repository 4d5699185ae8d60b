"""Standard output and standard error: whatever they are, text can be written to them."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

#: Exit code of a program whose reader went away, as if stopped by SIGPIPE.
BROKEN_PIPE = 141

#: Narrowest terminal for which lines are laid out.
MIN_COLUMNS = 20

#: Characters of our texts that have no decomposition into ASCII.
_ASCII = {"−": "-", "–": "-", "—": "-", "Γ": "G", "γ": "g", "×": "x", "·": ".", "°": "d"}

_APPROXIMATED = "onephonon.approximated"


class OutputError(OSError):
    """Standard output cannot be written to."""


class Output(io.TextIOWrapper):
    """Standard output, whose errors are told from those of files."""

    def write(self, text: str) -> int:
        """Write text."""
        with _named():
            return super().write(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with _named():
            super().flush()


class ClosedOutput(io.TextIOBase):
    """Stands for a standard output that is closed: an error only if something is printed."""

    def write(self, _text: str) -> int:
        """Fail."""
        raise OutputError(errno.EBADF, "it is closed")


def prepare_streams() -> None:
    """Make text writable to standard output and standard error.

    Characters that the encoding lacks are approximated; a width of the terminal that is none is
    ignored.
    """
    _fill_descriptors()
    codecs.register_error(_APPROXIMATED, _approximated)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors=_APPROXIMATED)
    plain = sys.stdout
    if isinstance(plain, io.TextIOWrapper):
        encoding, by_line = plain.encoding, plain.line_buffering
        sys.stdout = Output(plain.detach(), encoding, _APPROXIMATED, line_buffering=by_line)
    elif plain is None:
        sys.stdout = ClosedOutput()
    columns = os.environ.get("COLUMNS", "")
    if columns and not (columns.isdecimal() and int(columns) > 0):
        del os.environ["COLUMNS"]
    elif columns:
        os.environ["COLUMNS"] = str(max(int(columns), MIN_COLUMNS))


def abandon_output() -> None:
    """Forget what cannot be written, or the interpreter tries again when it ends."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error.errno, error.strerror) from error


def _fill_descriptors() -> None:
    """Open the null device for closed standard streams, whose numbers other files would take."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _approximated(error: UnicodeError) -> tuple[str, int]:
    """Characters without accents and signs, or question marks, for characters an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_ascii(character) for character in found), error.end


def _ascii(character: str) -> str:
    plain = unicodedata.normalize("NFKD", _ASCII.get(character, character))
    # One for one, so that columns stay in line.
    return plain.encode("ascii", "ignore").decode("ascii")[:1] or "?"

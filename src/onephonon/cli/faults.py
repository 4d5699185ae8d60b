"""What the command line says, in one line, of an exception of any kind."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass

from onephonon.core.errors import OnePhononError
from onephonon.core.text import one_line

from .endings import notes_of
from .streams import BROKEN_PIPE, OutputError

#: Environment variable by which the traceback of every error is shown.
TRACEBACK_VARIABLE = "ONEPHONON_TRACEBACK"

#: Exit codes: what was asked for cannot be done; the program is at fault.
REFUSED, AT_FAULT = 1, 70


@dataclass(frozen=True)
class Fault:
    """An exception, as a user is told of it.

    Parameters
    ----------
    message : str
        One line.
    code : int
        Exit code.
    """

    message: str
    code: int


def describe(error: BaseException, command: str = "") -> Fault:
    """What to say of an exception, and the exit code.

    Parameters
    ----------
    error : exception
    command : str
        Name of the command, in which step it happened.
    """
    step = f" in {command}" if command else ""
    if isinstance(error, OnePhononError):
        return Fault(one_line("; ".join([str(error), *notes_of(error)])), REFUSED)
    if is_out_of_memory(error):
        why = f" ({one_line(str(error))})" if str(error) else ""
        return Fault(
            f"the memory does not suffice{step}{why}; ask for less at a time, such as a smaller "
            "map, a smaller --batch-size or larger bodies",
            REFUSED,
        )
    if isinstance(error, OutputError):
        why = f"standard output: {error.strerror}; what was printed is incomplete"
        return Fault(why, REFUSED)
    if isinstance(error, BrokenPipeError):
        return Fault("", BROKEN_PIPE)
    if isinstance(error, OSError) and (error.filename is not None or error.strerror):
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name]
        where = " and ".join(names) or f"a file{step}"
        return Fault(one_line(f"{where}: {error.strerror or error}"), REFUSED)
    return Fault(
        f"unexpected {type(error).__name__}{step}, at {_place(error)}: "
        f"{one_line(str(error))[:300] or 'no message'}. This is a fault of the program: please "
        "report it with the input and the output of the same command with --traceback",
        AT_FAULT,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory could not be allocated, by Python, NumPy or torch."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def traceback_wanted() -> bool:
    """Whether the environment asks for tracebacks."""
    return os.environ.get(TRACEBACK_VARIABLE, "") not in ("", "0")


def _place(error: BaseException) -> str:
    """Module and line of onephonon in which an exception came up."""
    package = __name__.partition(".")[0]
    place = "an unknown place"
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == package:
            place = f"{module}:{line}"
    return place

"""What the user is told when a command ends early: what was left, and how to go on."""

from __future__ import annotations


def notes_of(error: BaseException | None) -> list[str]:
    """Notes of an exception: what writes files adds how to continue."""
    return list(getattr(error, "__notes__", ()))


def interruption_notes(stop: BaseException | None) -> list[str]:
    """Notes of the Ctrl-C that stopped a command, which Typer turns into an exit code."""
    while stop is not None:
        if isinstance(stop, KeyboardInterrupt):
            return notes_of(stop)
        stop = stop.__cause__ or stop.__context__
    return []


def interruption_message(stop: BaseException) -> str:
    """What is said after Ctrl-C."""
    notes = interruption_notes(stop)
    return f"interrupted; {'; '.join(notes) if notes else 'no unfinished file was left'}"

"""The errors that onephonon raises: each names the value, why it is invalid, and the fix."""

#: Longest message; a damaged file may hold a "name" of a megabyte.
MAX_MESSAGE = 1000


class OnePhononError(ValueError):
    """Base of every error that a user's input can cause.

    The middle of a very long message is left out.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= MAX_MESSAGE:
            return text
        return f"{text[: 2 * MAX_MESSAGE // 3]} … {text[-MAX_MESSAGE // 3 :]}"


class InputError(OnePhononError):
    """A parameter is out of its range, of the wrong shape, or contradicts another."""


class StructureError(OnePhononError):
    """A structure file cannot be used as a crystal."""


class NetworkError(OnePhononError):
    """The springs do not hold the crystal together."""


class FileError(OnePhononError):
    """A file cannot be read or written."""


class MapFileError(FileError):
    """A file cannot be used as a map, or a map cannot be written in a file's format."""


class GradientError(OnePhononError, RuntimeError):
    """A gradient was requested of something that has none."""

"""The errors that onephonon raises: each names the value, why it is invalid, and the fix."""


class OnePhononError(ValueError):
    """Base of every error that a user's input can cause."""


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

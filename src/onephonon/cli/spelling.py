"""Options in place of the library's arguments, in messages."""

from __future__ import annotations

import re
from collections.abc import Collection

#: Arguments of the library that have names of their own, and the options that set them.
_OPTIONS = {
    "gnm_cutoff": "--cutoff",
    "res_limit": "--d-min",
    "hsampling": "--h",
    "ksampling": "--k",
    "lsampling": "--l",
    "n_points": "--points",
    "n_shells": "--shells",
    "n_peaks": "--peaks",
    "n_draws": "--draws",
    "n_frames": "--frames",
    "anisotropic": "--isotropic",
    "expand_p1": "--whole-cell",
    "q_vectors": "--q",
    "spacegroup": "--space-group",
    "weighting": "--weights",
    "reindexing": "--reindex",
    "kind": "--remove",
    "pdos_mode": "--populations-mode",
    "sampling": "--per-index",
    "isotropic part": "--remove",
    "space group": "--space-group",
    "springs by": "--by",
}

#: Arguments of `read_map`, whose messages begin with the name of the file.
_READING = re.compile(r"(?<=: )(origin|sampling|dataset)(?= (?:\(|was given))")

_FIRST_WORD = re.compile(r"(isotropic part|space group|springs by|[a-z]+)(?=[ =:(]|$)")
_IDENTIFIER = re.compile(r"(?<![\w./-])[a-z]+(?:_[a-z0-9]+)+(?:=|\b)(?!\.\w)|\b[hkl]sampling\b")


def with_options(message: str, options: Collection[str], *, of_file: bool = False) -> str:
    """A message of the library with arguments as options of the command.

    Parameters
    ----------
    message : str
    options : collection of str
        Of the command: "--d-min". Words that are not one of its options stay.
    of_file : bool
        The message is about a file, where names may be those of its parts.

    Returns
    -------
    str
        Names with an underscore are replaced wherever they are, others at the beginning, where
        messages about arguments name them.
    """

    def option(word: str) -> str:
        name = word.rstrip("=")
        found = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
        return f"{found}{' ' * word.endswith('=')}" if found in options else word

    message = _READING.sub(lambda match: option(match[0]), message)
    if of_file:
        return message
    message = _IDENTIFIER.sub(lambda match: option(match[0]), message)
    first = _FIRST_WORD.match(message)
    if first is None:
        return message
    rest = message[first.end() :]
    word = option(first[0])
    return message if word == first[0] else word + re.sub("^=", " ", rest)

"""Bodies defined by residue ranges: ``A:1-60 A:61-129,B``."""

from __future__ import annotations

import re

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import AtomLabel, Crystal

#: As the last word of the text, it puts all remaining atoms into one body.
REST = "rest"

#: A residue number with its insertion code, as in files: 60, -5, 60A.
_NUMBER = r"(-?\d+)([A-Za-z]?)"
_SPAN = re.compile(rf"{_NUMBER}(?:-{_NUMBER})?")

ResidueKey = tuple[int, str]


def body_ranges(crystal: Crystal, text: str) -> list[int]:
    """Number the body of each atom by ranges of residues; see `named_ranges`.

    Returns
    -------
    list of int, length n_atoms
        For ``group_by``, which also accepts the text itself, and then names the bodies by it.
    """
    return named_ranges(crystal, text)[0]


def named_ranges(crystal: Crystal, text: str) -> tuple[list[int], tuple[str, ...]]:
    """Number the body of each atom by ranges of residues, and name the bodies.

    Parameters
    ----------
    crystal : Crystal
    text : str
        Bodies are separated by white space or ';', parts of a body by ','. A part is CHAIN,
        CHAIN:RESIDUE or CHAIN:FIRST-LAST, both ends included; ``_`` is the chain without a name.
        Residues are numbered as in the file, such as -5 or 60A; 60 comes before 60A, so ``1-60``
        ends before 60A. If the last word is ``rest``, all remaining atoms form one more body.

    Returns
    -------
    numbers : list of int, length n_atoms
        Number of each atom's body, in the order of the text.
    names : tuple of str, length n_bodies
        The text of each body.

    Raises
    ------
    InputError
        If a part has another form, names an unknown chain or contains no atom, or if an atom is
        in several parts or in none.
    """
    words = re.split(r"[\s;]+", text.strip(" \t\r\n;"))
    if words == [""]:
        raise InputError("there are no ranges in the text; give ranges such as 'A:1-60 A:61-129,B'")
    has_rest = words[-1] == REST
    names = words[:-1] if has_rest else words
    owner: list[int | None] = [None] * crystal.n_atoms
    part_of = [""] * crystal.n_atoms
    for body, word in enumerate(names):
        for part in word.split(","):
            for atom in _atoms_of(crystal.labels, part):
                if owner[atom] is not None:
                    raise InputError(
                        f"atom {crystal.labels[atom]} is in {part_of[atom]!r} and in {part!r}; "
                        "an atom can belong to only one body: remove the overlap"
                    )
                owner[atom], part_of[atom] = body, part
    left = [label for label, body in zip(crystal.labels, owner, strict=True) if body is None]
    if left and not has_rest:
        raise InputError(
            f"{len(left)} of {crystal.n_atoms} atoms are in no range, the first {left[0]}; name "
            f"them, or end the ranges with '{REST}' to make one body of them"
        )
    if has_rest and not left:
        raise InputError(f"'{REST}' is empty: the ranges include every atom; remove it")
    numbers = [len(names) if body is None else body for body in owner]
    return numbers, tuple(words)


def _atoms_of(labels: tuple[AtomLabel, ...], part: str) -> list[int]:
    """Atoms of one part; raises if there are none."""
    chain, span = _read_part(labels, part)
    own = [i for i, label in enumerate(labels) if label.chain.strip() == chain]
    if span is None:
        return own
    first, last = span
    if last < first:
        raise InputError(f"range {part!r} ends before it begins; give the lower number first")
    keys = {i: residue_key(labels[i].residue_number) for i in own}
    found = [i for i, key in keys.items() if key is not None and first <= key <= last]
    if not found:
        known = [key for key in keys.values() if key is not None]
        reach = f"{_written(min(known))} to {_written(max(known))}" if known else "none"
        raise InputError(
            f"range {part!r} holds no atom of the crystal; the residues of chain {chain or '_'} "
            f"are {reach}"
        )
    return found


def _read_part(
    labels: tuple[AtomLabel, ...], part: str
) -> tuple[str, tuple[ResidueKey, ResidueKey] | None]:
    """Chain of a part, and its first and last residue unless it is the whole chain."""
    chains = dict.fromkeys(label.chain.strip() for label in labels)
    whole = _chain(chains, part)
    if whole is not None:
        return whole, None
    name, colon, numbers = part.rpartition(":")
    chain = _chain(chains, name if colon else part)
    if chain is None or not (name if colon else part):
        shown = ", ".join(c or "_" for c in chains)
        raise InputError(
            f"range {part!r} names no chain of the crystal, which has {shown}; give CHAIN, "
            "CHAIN:RESIDUE or CHAIN:FIRST-LAST"
        )
    match = _SPAN.fullmatch(numbers)
    if match is None:
        raise InputError(
            f"range {part!r}: {numbers!r} is neither a residue nor FIRST-LAST; write 12, -5, 60A "
            "or 1-60"
        )
    first = int(match[1]), match[2]
    last = first if match[3] is None else (int(match[3]), match[4])
    return chain, (first, last)


def _chain(chains: dict[str, None], name: str) -> str | None:
    """The chain of that name, or None; ``_`` means a chain without name."""
    if name and name in chains:
        return name
    return "" if name == "_" and "" in chains else None


def write_ranges(bodies: dict[tuple[str, ResidueKey], int], n_bodies: int) -> tuple[str, ...]:
    """Ranges of residues of each body, the shortest text that `named_ranges` reads as these bodies.

    Parameters
    ----------
    bodies : dict
        Body of each residue of the crystal, by its chain and `residue_key`.
    n_bodies : int

    Returns
    -------
    tuple of str, length n_bodies
        Such as ``A:1-40,A:61-80``; a whole chain is ``A``.
    """
    parts: list[list[str]] = [[] for _ in range(n_bodies)]
    chains: dict[str, list[ResidueKey]] = {}
    for chain, key in bodies:
        chains.setdefault(chain, []).append(key)
    for chain, keys in chains.items():
        runs: list[list[ResidueKey]] = []
        for key in sorted(keys):
            if runs and bodies[chain, runs[-1][-1]] == bodies[chain, key]:
                runs[-1].append(key)
            else:
                runs.append([key])
        name = chain or "_"
        for run in runs:
            ends = dict.fromkeys((_written(run[0]), _written(run[-1])))
            text = name if len(runs) == 1 else f"{name}:{'-'.join(ends)}"
            parts[bodies[chain, run[0]]].append(text)
    return tuple(",".join(part) for part in parts)


def residue_key(number: str) -> ResidueKey | None:
    """Number and insertion code, by which residues are ordered; None if it has another form."""
    match = re.fullmatch(_NUMBER, number.replace(" ", ""))
    return None if match is None else (int(match[1]), match[2])


def _written(key: ResidueKey) -> str:
    return f"{key[0]}{key[1]}"

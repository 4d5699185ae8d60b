"""Disorder as text, ``lattice+liquid:scope=asu,gamma=8``: components, each with its options."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from onephonon.core.errors import InputError

OptionValue = float | int | str


@dataclass(frozen=True)
class Option:
    """What an option of a component can be.

    Parameters
    ----------
    kind : {'number', 'count', 'choice', 'text'}
        A number above 0, a whole number above 0, one of `choices`, or any text.
    choices : tuple of str
    fits_only : tuple of str
        Choices that exist in fits only.
    below : float
        Upper limit of a number, excluded.
    """

    kind: str
    choices: tuple[str, ...] = ()
    fits_only: tuple[str, ...] = ()
    below: float = math.inf


_NUMBER = Option("number")

#: The components and their options.
COMPONENTS: dict[str, dict[str, Option]] = {
    "lattice": {"share": _NUMBER},
    "liquid": {
        "scope": Option("choice", ("crystal", "asu", "body")),
        "amplitude": Option("choice", ("equal", "atoms")),
        "sigma": _NUMBER,
        "share": _NUMBER,
        "gamma": _NUMBER,
        "gamma2": _NUMBER,
        "mix": Option("number", below=1.0),
        "kernel": Option("choice", ("exponential", "free"), fits_only=("free",)),
    },
    "rigid": {
        "motion": Option("choice", ("translations", "tls")),
        "sigma": _NUMBER,
        "share": _NUMBER,
    },
    "atoms": {"share": _NUMBER},
    "ensemble": {
        "file": Option("text"),
        "coherent": Option("choice", ("asu", "cell")),
        "conformers": Option("choice", ("independent", "letter")),
    },
    "segments": {"n": Option("count"), "by": Option("choice", ("residue",))},
}

#: Components that exist in fits only.
FITS_ONLY = ("segments",)

#: A sign between components is followed by a name; that of 1e+3 or of a file name is not.
_BETWEEN = re.compile(r"\+(?=\s*[A-Za-z_]*\s*(?:[:+]|$))")

#: A comma between options is followed by the name of the next.
_COMMA = re.compile(r",(?=\s*[A-Za-z_]\w*\s*=)")


@dataclass(frozen=True)
class ComponentSpec:
    """A component as it is written: its name and the options that were given.

    Parameters
    ----------
    name : str
    options : mapping of str to float, int or str
    """

    name: str
    options: Mapping[str, OptionValue] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As `parse_disorder` reads it."""
        return component_text(self.name, self.options)

    @property
    def for_fits_only(self) -> bool:
        """Whether only a fit can determine what the component needs."""
        options = COMPONENTS[self.name]
        chosen = any(value in options[key].fits_only for key, value in self.options.items())
        return self.name in FITS_ONLY or chosen


def parse_disorder(text: str) -> tuple[ComponentSpec, ...]:
    """Read components of disorder from text.

    Parameters
    ----------
    text : str
        Components joined by ``+``; each a name, and after a colon its options, as
        ``name=value`` with commas between: ``lattice+liquid:scope=crystal,gamma=3``. See
        `COMPONENTS`.

    Returns
    -------
    tuple of ComponentSpec
        In the order of the text.

    Raises
    ------
    InputError
        For a component, an option or a value that does not exist; it lists what there is.
    """
    specs = tuple(_parse_component(part) for part in _BETWEEN.split(text))
    if [spec.name for spec in specs].count("lattice") > 1:
        raise InputError(f"disorder {text!r}: the lattice is given twice; give it once")
    return specs


def disorder_text(specs: Sequence[ComponentSpec]) -> str:
    """The text of components, which `parse_disorder` reads."""
    return "+".join(spec.text for spec in specs)


def component_text(name: str, options: Mapping[str, OptionValue | Tensor | None]) -> str:
    """A component as text; options that are None are left out, numbers keep all digits."""
    given = {key: value for key, value in options.items() if value is not None}
    written = ",".join(f"{key}={_written(value)}" for key, value in given.items())
    return f"{name}:{written}" if written else name


def _written(value: OptionValue | Tensor) -> str:
    if isinstance(value, str):
        return value
    number = value.detach() if isinstance(value, Tensor) else value
    return repr(float(number)).removesuffix(".0")


def _parse_component(text: str) -> ComponentSpec:
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if name not in COMPONENTS:
        raise InputError(
            f"disorder component {name!r} does not exist; there are {', '.join(COMPONENTS)}, "
            "joined by +, such as 'lattice+liquid:scope=asu,gamma=8'"
        )
    if colon and not rest:
        raise InputError(f"disorder {text.strip()!r} ends after the colon; {_options_of(name)}")
    options: dict[str, OptionValue] = {}
    for part in _COMMA.split(rest) if rest else []:
        key, equals, value = (x.strip() for x in part.partition("="))
        if not equals or key not in COMPONENTS[name]:
            raise InputError(
                f"disorder component {name!r} has no option {part.strip()!r}; {_options_of(name)}"
            )
        if key in options:
            raise InputError(f"disorder component {name!r}: {key} is given twice; give it once")
        options[key] = _parse_value(name, key, value)
    return ComponentSpec(name, options)


def _options_of(name: str) -> str:
    listed = []
    for key, option in COMPONENTS[name].items():
        value = "|".join(option.choices) if option.choices else f"<{option.kind}>"
        listed.append(f"{key}={value}")
    return f"its options are {', '.join(listed)}"


def _parse_value(name: str, key: str, value: str) -> OptionValue:
    option = COMPONENTS[name][key]
    where = f"disorder component {name!r}: {key}={value!r}"
    if option.kind == "text":
        if not value:
            raise InputError(f"{where} is empty; give a value")
        return value
    if option.kind == "choice":
        if value not in option.choices:
            raise InputError(f"{where} is not one of {', '.join(option.choices)}")
        return value
    try:
        number = int(value) if option.kind == "count" else float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < option.below or not math.isfinite(number):
        whole = "a whole number" if option.kind == "count" else "a number"
        limit = "" if math.isinf(option.below) else f" and below {option.below:g}"
        raise InputError(f"{where} is not {whole} above 0{limit}; correct it")
    return number

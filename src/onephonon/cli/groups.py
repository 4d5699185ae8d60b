"""Groups of options: frozen dataclasses whose fields are options of commands.

A command takes each group as one parameter; `expand_options` shows Typer the fields instead, so
that an option is declared once and has the same meaning in every command.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

from typer.models import OptionInfo


@dataclass(frozen=True)
class Role:
    """What the file is for that an option or argument names; a part of its annotation."""

    name: str


#: The file is written: ``Annotated[Path, typer.Option(...), OUTPUT]``. All others are read.
OUTPUT = Role("output")

#: A field of a group that is no option, but receives all files that the command reads:
#: ``Annotated[tuple[Path, ...], INPUTS] = ()``.
INPUTS = Role("inputs")


@dataclass(frozen=True)
class OptionGroup:
    """A group of related options.

    A group is a frozen dataclass derived from this class. Each field is
    ``name: Annotated[kind, typer.Option(..., help=...)] = default``; the kind is str, int,
    float, bool, Path, None or a tuple of these; ``tuple[kind, ...]`` is an option that may be
    repeated. To change a default or help text in one command, derive from the group and declare
    the field again.
    """

    #: Heading of the options in --help.
    panel: ClassVar[str]


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameters of a command that are groups by the options of their fields.

    Parameters
    ----------
    command : callable
        Its other parameters are declared as usual in Typer. All are passed by keyword.

    Returns
    -------
    callable
        Has the expanded signature, for Typer; builds the groups and calls `command`.

    Raises
    ------
    TypeError
        If two groups, or a group and the command, declare the same name, or if a field of a
        group is not an option.
    """
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters
    groups: dict[str, type[OptionGroup]] = {
        name: hints[name]
        for name in own
        if isinstance(hints[name], type) and issubclass(hints[name], OptionGroup)
    }
    parameters: dict[str, inspect.Parameter] = {}
    owners: dict[str, str] = {}
    for name, parameter in own.items():
        if name in groups:
            owner, found = groups[name].__name__, list(_options(groups[name]))
        else:
            plain = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            owner, found = "the command", [plain]
        for option in found:
            if option.name in parameters:
                raise TypeError(
                    f"{command.__name__}: {option.name!r} is declared by {owners[option.name]} and "
                    f"by {owner}; rename one"
                )
            parameters[option.name], owners[option.name] = option, owner

    read = [name for name, option in parameters.items() if _is_input(option.annotation)]

    @wraps(command)
    def expanded(**values: Any) -> None:
        inputs = tuple(values[name] for name in read if values[name] is not None)
        built = {name: _build(group, values, inputs) for name, group in groups.items()}
        rest = {name: values[name] for name in own if name not in groups}
        command(**rest, **built)

    expanded.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in parameters.values()}
    return expanded


def _options(group: type[OptionGroup]) -> Iterator[inspect.Parameter]:
    """The fields of a group as parameters that Typer understands."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        kind, *extras = get_args(hints[field.name]) or (None,)
        if INPUTS in extras:
            continue
        options = [extra for extra in extras if isinstance(extra, OptionInfo)]
        if len(options) != 1:
            raise TypeError(
                f"{group.__name__}.{field.name} is not an option: "
                "annotate it as Annotated[kind, typer.Option(...)]"
            )
        option = copy(options[0])
        option.rich_help_panel = group.panel
        default: Any = inspect.Parameter.empty if field.default is MISSING else field.default
        if _is_repeated(kind):
            # In Typer, options that may be repeated are lists.
            kind = list[get_args(kind)[0]]  # type: ignore[misc]
            default = list(default) if isinstance(default, tuple) else default
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, option, *(x for x in extras if isinstance(x, Role))],
        )


def _build(
    group: type[OptionGroup], values: dict[str, Any], inputs: tuple[Path, ...]
) -> OptionGroup:
    """Create a group from the values parsed by Typer, and the files that are read."""
    hints = get_type_hints(group, include_extras=True)
    found = {
        field.name: inputs if INPUTS in get_args(hints[field.name]) else values[field.name]
        for field in fields(group)
    }
    return group(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})


def _is_input(annotation: Any) -> bool:
    """Whether an option or argument names a file that is read."""
    kind, *extras = get_args(annotation) or (annotation,)
    return (kind is Path or Path in get_args(kind)) and OUTPUT not in extras


def _is_repeated(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1] is ...

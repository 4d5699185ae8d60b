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

import typer
from typer.models import ArgumentInfo, OptionInfo

from onephonon.core.errors import FileError, OnePhononError

from .checks import Check, Given, Reads, check_text
from .spelling import with_options
from .terminal import echo, memory_shown

#: Name of the parameter by which Typer hands over its context.
CONTEXT = "typer_context"


#: A field of a group that is no option, but receives all files that the command reads:
#: ``Annotated[tuple[Path, ...], INPUTS] = ()``.
INPUTS = "all inputs"


@dataclass(frozen=True)
class OptionGroup:
    """A group of related options.

    A group is a frozen dataclass derived from this class. Each field is
    ``name: Annotated[kind, typer.Option(..., help=...), check, ...] = default``; the kind is str,
    int, float, bool, Path, None or a tuple of these; ``tuple[kind, ...]`` is an option that may be
    repeated; checks are those of `checks`. To change a default or help text in one command, derive
    from the group and declare the field again.
    """

    #: Heading of the options in --help.
    panel: ClassVar[str]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the fields that are options."""
        hints = get_type_hints(cls, include_extras=True)
        return tuple(f.name for f in fields(cls) if INPUTS not in get_args(hints[f.name]))

    def check_together(self, given: Given) -> None:
        """Raise InputError if options contradict each other, or one would be ignored.

        Parameters
        ----------
        given : Given
            Options on the command line.
        """


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameters of a command that are groups by the options of their fields.

    Parameters
    ----------
    command : callable
        Its other parameters are declared as usual in Typer, with checks as in groups. One that is
        annotated as `Given` is told which options are on the command line. All are passed by
        keyword.

    Returns
    -------
    callable
        Has the expanded signature, for Typer; checks the values, builds the groups and calls
        `command`. Errors of the library name the options, not its arguments.

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
    told = [name for name in own if hints[name] is Given]
    parameters: dict[str, inspect.Parameter] = {}
    checks: dict[str, list[Check]] = {}
    owners: dict[str, str] = {}
    for name, parameter in own.items():
        if name in told:
            continue
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
            extras = get_args(option.annotation)[1:]
            checks[option.name] = [extra for extra in extras if isinstance(extra, Check)]
    spellings = {name: _spelling(parameter) for name, parameter in parameters.items()}

    read = [name for name, option in parameters.items() if _is_input(option.annotation)]

    @wraps(command)
    def expanded(**values: Any) -> None:
        context: typer.Context = values.pop(CONTEXT)
        given = Given({k: v for k, v in spellings.items() if _is_given(context, k)})
        for name, found in checks.items():
            check_text(spellings[name], values[name])
            for check in found if values[name] is not None else ():
                check.check(spellings[name], values[name])
        inputs = tuple(values[name] for name in read if values[name] is not None)
        built = {name: _build(group, values, inputs) for name, group in groups.items()}
        for options in built.values():
            options.check_together(given)
        rest = {name: values[name] for name in own if name not in groups and name not in told}

        def show(message: str) -> None:
            if not values.get("quiet"):
                echo(with_options(message, spellings.values()), err=True)

        try:
            with memory_shown(show):
                command(**rest, **built, **dict.fromkeys(told, given))
        except OnePhononError as error:
            of_file = isinstance(error, FileError)
            error.args = (with_options(str(error), spellings.values(), of_file=of_file),)
            raise

    declared = [*parameters.values(), _CONTEXT]
    expanded.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in declared}
    return expanded


_CONTEXT = inspect.Parameter(CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter is on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _spelling(parameter: inspect.Parameter) -> str:
    """How a parameter is written on the command line, or shown in the help."""
    info = next(
        (x for x in get_args(parameter.annotation) if isinstance(x, OptionInfo | ArgumentInfo)),
        None,
    )
    if isinstance(info, ArgumentInfo):
        return info.metavar or parameter.name.upper()
    # Typer takes the first of the names for a default, and puts it right later.
    names = (info.default, *(info.param_decls or ())) if info else ()
    long = [name for name in names if isinstance(name, str) and name.startswith("--")]
    return long[0].partition("/")[0] if long else f"--{parameter.name.replace('_', '-')}"


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
            annotation=Annotated[(kind, option, *(x for x in extras if x is not options[0]))],
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
    return any(isinstance(extra, Reads) for extra in get_args(annotation)[1:])


def _is_repeated(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1] is ...

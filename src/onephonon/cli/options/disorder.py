"""The option of the components of disorder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from onephonon.core.errors import InputError

from ..checks import Given
from ..groups import OptionGroup

#: Options that only a model of the lattice alone has.
OF_LATTICE_ALONE = ("rank", "softest", "unique")


@dataclass(frozen=True)
class DisorderText:
    """Components of disorder, as text."""

    def check(self, option: str, value: Any) -> None:
        """Raise InputError for components that do not exist or exist in fits only."""
        from onephonon.model.disorder_plan import DisorderPlan

        try:
            DisorderPlan.of(value)
        except InputError as error:
            text = str(error)
            named = text.startswith("disorder")
            text = text.replace("disorder", option, 1) if named else f"{option}: {text}"
            raise InputError(text) from None


@dataclass(frozen=True)
class DisorderOptions(OptionGroup):
    """Components of disorder."""

    panel: ClassVar[str] = "Disorder"

    disorder: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Kinds of motion whose scattering is summed, joined by +, each with its options: "
            "lattice (share), liquid (gamma in Å; scope=crystal|asu|body; sigma or share; gamma2 "
            "and mix), rigid (motion=translations|tls; sigma or share), atoms (share), ensemble "
            "(file); such as 'lattice+liquid:scope=asu,gamma=8'. A component without a share or "
            "sigma takes what the others leave of the file's B-factors, which are those of all "
            "motion. Without lattice no springs are needed.",
            show_default="lattice",
        ),
        DisorderText(),
    ] = None

    @property
    def beyond_lattice(self) -> bool:
        """Whether motion is a sum of components."""
        from onephonon.model.disorder_plan import DisorderPlan

        return DisorderPlan.of(self.disorder) is not None

    def check_with(self, given: Given, of_springs: tuple[str, ...]) -> None:
        """Raise InputError for options that would be ignored.

        Parameters
        ----------
        given : Given
        of_springs : tuple of str
            Names of the options of springs and of the lattice's displacements.
        """
        from onephonon.model.disorder_plan import DisorderPlan

        plan = DisorderPlan.of(self.disorder)
        if plan is None:
            return
        given.refuse(
            *OF_LATTICE_ALONE,
            why="only for the lattice alone; leave it out, or --disorder",
        )
        if not plan.has_lattice:
            given.refuse(
                *of_springs,
                why=f"of the lattice, which --disorder {self.disorder} lacks; leave it out, or add "
                "lattice+",
            )

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {} if self.disorder is None else {"disorder": self.disorder}

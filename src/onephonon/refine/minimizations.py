"""The minimizations of a fit in their order: those saved by an interrupted fit are not repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from .objective import Objective
from .optimize import Minimum


@dataclass(frozen=True, eq=False)
class SavedMinimum:
    """Result of one minimization, sufficient to continue after it.

    Parameters
    ----------
    level : str
    prior : float
        Weight of the prior.
    x : Tensor, shape (n,)
        Free parameters at the minimum.
    n_steps, largest_change, converged, reason
        As in `Minimum`.
    max_steps : int
        Maximum number of steps that was allowed.
    """

    level: str
    prior: float
    x: Tensor
    n_steps: int
    largest_change: float
    converged: bool
    reason: str
    max_steps: int


class Minimizations:
    """Runs the minimizations of a fit, and takes those that were saved from there.

    A fit is a series of minimizations, each determined by the results of those before. Saved ones
    are used in order, as long as they are those that would be run now.

    Parameters
    ----------
    saved : sequence of SavedMinimum
        In the order in which they were run.
    on_minimum : callable, optional
        Called with each new result as soon as it is known, for example to save it.
    """

    def __init__(
        self,
        saved: Sequence[SavedMinimum] = (),
        on_minimum: Callable[[SavedMinimum], None] | None = None,
    ) -> None:
        self._saved = list(saved)
        self._on_minimum = on_minimum

    def run(
        self,
        objective: Objective,
        start: Tensor,
        max_steps: int,
        minimize: Callable[[Tensor], Minimum],
    ) -> Minimum:
        """The saved result, or that of a minimization from `start`.

        One that was stopped by a smaller `max_steps` is continued.
        """
        saved = self._next(objective)
        if saved is not None:
            start = saved.x.to(start)
            if saved.converged or max_steps <= saved.max_steps:
                minimum = Minimum(
                    objective.evaluate(start),
                    saved.n_steps,
                    saved.largest_change,
                    saved.converged,
                    saved.reason,
                )
                self._report(saved)
                return minimum
            self._saved = []  # what follows depends on the result
        minimum = minimize(start)
        self._report(
            SavedMinimum(
                level=objective.parametrization.level.name,
                prior=objective.prior,
                x=minimum.at.x.detach(),
                n_steps=minimum.n_steps,
                largest_change=minimum.largest_change,
                converged=minimum.converged,
                reason=minimum.reason,
                max_steps=max_steps,
            )
        )
        return minimum

    def _report(self, result: SavedMinimum) -> None:
        if self._on_minimum is not None:
            self._on_minimum(result)

    def _next(self, objective: Objective) -> SavedMinimum | None:
        """The next saved result, if it is of this minimization; otherwise no more are used."""
        if not self._saved:
            return None
        saved, level = self._saved[0], objective.parametrization.level.name
        if (saved.level, saved.prior, len(saved.x)) != (
            level,
            objective.prior,
            objective.parametrization.n,
        ):
            self._saved = []
            return None
        del self._saved[0]
        return saved

"""Progress of long calculations, and messages about them."""

from __future__ import annotations

import logging
from collections.abc import Callable

logger = logging.getLogger("onephonon")


class Progress:
    """Receives the steps and messages of a calculation, and passes them on to `logging`.

    Messages go to the logger ``onephonon`` at level INFO, steps at level DEBUG. Override `step` or
    `message` to show them in another way.
    """

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Report a step of a task.

        Parameters
        ----------
        task : str
        done, total : int
            Number of steps done, and of all steps. The last step has ``done == total``.
        detail : str
            State of a task that may end before `total`, such as a minimization.
        """
        logger.debug("%s: %d of %d%s", task, done, total, f", {detail}" if detail else "")

    def message(self, text: str) -> None:
        """Report a decision or a result, in one line of text."""
        logger.info("%s", text)

    def __call__(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Report a step, as a plain function would."""
        self.step(task, done, total, detail)

    @staticmethod
    def of(progress: ProgressLike | None) -> Progress:
        """A `Progress` from the argument ``progress=`` of a function.

        A plain function receives the steps, as (task, done, total), while messages go to `logging`.
        None: both go to `logging`.
        """
        if progress is None:
            return Progress()
        return progress if isinstance(progress, Progress) else _FunctionProgress(progress)


#: What functions accept as ``progress=``: a function receives (task, steps done, all steps).
ProgressLike = Progress | Callable[[str, int, int], object]


class _FunctionProgress(Progress):
    """Passes steps on to a plain function."""

    def __init__(self, function: Callable[[str, int, int], object]) -> None:
        self.function = function

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:  # noqa: ARG002
        self.function(task, done, total)

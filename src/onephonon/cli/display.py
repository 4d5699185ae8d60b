"""Display of progress: one bar on a terminal, lines at growing intervals elsewhere."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onephonon.core.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Time until the first line about steps, and longest time between two lines, seconds; in between,
#: intervals double.
FIRST_LINE, LONGEST_INTERVAL = 3.0, 60.0

#: Seconds between two looks at whether a line is due.
TICK = 0.5

#: Part of a task that is large enough to estimate the rest from the first report alone.
LARGE_PART = 0.05

#: Characters of the bar; name, numbers and time left must fit beside it in 60 columns.
BAR_WIDTH = 16

#: Characters below which the state of a task tells nothing.
SHORTEST_STATE = 24

#: Pictures of the bar in a second.
REFRESHED_PER_SECOND = 5


class QuietProgress(Progress):
    """Shows nothing."""

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""


@dataclass(frozen=True)
class Task:
    """An unfinished task.

    Parameters
    ----------
    name : str
    done, total : int
    detail : str
        State of a task that may end before `total`.
    began : float
        Time of the last report on another task, or of the beginning, seconds.
    first : float
        Time of the first report on this one.
    done_at_first : int
        Steps done by then.
    reported : float
        Time of the last report.
    """

    name: str
    done: int
    total: int
    detail: str
    began: float
    first: float
    done_at_first: int
    reported: float

    def seconds_left(self, now: float) -> float | None:
        """Estimate from the steps so far; None as long as nothing is known.

        The first report includes the preparation. It counts only if there is no other, and if much
        was done by then.
        """
        steps, since = self.done - self.done_at_first, self.first
        if steps <= 0 and self.done >= LARGE_PART * self.total:
            steps, since = self.done, self.began
        if self.detail or steps <= 0:
            return None
        pace = (self.reported - since) / steps
        return max(0.0, pace * (self.total - self.done) - (now - self.reported))


class Tasks:
    """The unfinished tasks, in the order in which they began; another thread may look at them.

    Parameters
    ----------
    clock : callable
        Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.unfinished: dict[str, Task] = {}
        self.last = clock()
        self.lock = threading.Lock()

    def step(self, name: str, done: int, total: int, detail: str = "") -> None:
        """Take note of a step; the last one ends the task."""
        now = self.clock()
        with self.lock:
            before = self.unfinished.get(name)
            if done >= total > 0:
                self.unfinished.pop(name, None)
            elif before is None or done < before.done:  # a task may be done again
                began = self.last
                self.unfinished[name] = Task(name, done, total, detail, began, now, done, now)
            else:
                self.unfinished[name] = replace(
                    before, done=done, total=total, detail=detail, reported=now
                )
            self.last = now

    @property
    def current(self) -> Task | None:
        """The task that began first: later ones are parts of it."""
        with self.lock:
            return next(iter(self.unfinished.values()), None)


class LineProgress(Progress):
    """Writes messages as lines, and the state of long tasks as a line at growing intervals.

    Parameters
    ----------
    write : callable
        Called with each line.
    clock : callable
        Returns the time in seconds.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.write, self.clock = write, clock
        self.tasks = Tasks(clock)
        self.began = clock()
        self.interval = FIRST_LINE
        self.due = self.began + FIRST_LINE
        self.lock = threading.Lock()

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Take note of a step, and write a line if one is due."""
        self.tasks.step(task, done, total, detail)
        self.tick()

    def message(self, text: str) -> None:
        """Write a line."""
        with self.lock:
            self.write(text)

    def tick(self) -> None:
        """Write a line on the current task if the last one was long ago."""
        with self.lock:
            now, task = self.clock(), self.tasks.current
            if task is None or now < self.due:
                return
            self.interval = min(2 * self.interval, LONGEST_INTERVAL)
            self.due = now + self.interval
            self.write(state_line(task, now, self.began))


def state_line(task: Task, now: float, began: float) -> str:
    """State of a task as a line: steps, the time so far, and what is known of the rest."""
    facts = [f"{duration(now - began)} so far"]
    left = task.seconds_left(now)
    if left is not None:
        facts.append(f"about {duration(left)} left")
    if task.total > 0:
        most = "at most " if task.detail else ""
        facts.insert(0, f"{task.done} of {most}{task.total}")
    if task.detail:
        facts.insert(1, task.detail)
    return f"{task.name}: {', '.join(facts)}"


@contextmanager
def lines(write: Callable[[str], None]) -> Iterator[LineProgress]:
    """Lines on the progress, also while a single step takes long."""
    shown, done = LineProgress(write), threading.Event()

    def watch() -> None:
        while not done.wait(TICK):
            shown.tick()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        done.set()
        thread.join()


class BarProgress(Progress):
    """Shows a bar for the unfinished task that began first, and messages as lines above it.

    Parameters
    ----------
    console : rich.console.Console
    clock : callable
        Returns the time in seconds.
    with_stdout : bool
        Standard output is the same terminal, so what is printed there goes above the bar, too.
    """

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        with_stdout: bool = False,
    ) -> None:
        from rich.live import Live

        self.console, self.clock = console, clock
        self.tasks = Tasks(clock)
        self.live = Live(
            get_renderable=self.line,
            console=console,
            transient=True,
            refresh_per_second=REFRESHED_PER_SECOND,
            redirect_stdout=with_stdout,
        )

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Take note of a step, which the next picture of the bar shows."""
        self.tasks.step(task, done, total, detail)

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        shown = wrapped(text, self.console.width)
        self.console.print(shown, markup=False, highlight=False, soft_wrap=True)

    def line(self) -> Text:
        """The bar as it is now, one line of the terminal."""
        from rich.text import Text

        task = self.tasks.current
        if task is None:
            return Text()
        text = bar_line(task, self.clock(), self.console.width - 1, self.console.encoding)
        return Text(text, no_wrap=True, overflow="ellipsis")


def bar_line(task: Task, now: float, width: int, encoding: str = "utf-8") -> str:
    """A task as one line: name, bar, steps, and the time left or the time so far.

    A task that may end early has no bar. What does not fit is left out: first of its state, then
    the bar.
    """
    left = task.seconds_left(now)
    time_text = f"{duration(now - task.began)} so far" if left is None else f"{duration(left)} left"
    if not task.total:
        room = width - len(time_text) - 2
        name = task.name if len(task.name) <= room else f"{task.name[: max(room - 1, 0)]}…"
        return f"{name}  {time_text}"
    if task.detail:
        line = f"{task.name}  step {task.done} of at most {task.total}  {time_text}"
        if len(line) + SHORTEST_STATE > width:
            return line[:width]
        line = f"{line}  {task.detail}"
        return line if len(line) <= width else f"{line[: width - 1]}…"
    full, empty = ("━", "─") if encoding.lower().startswith("utf") else ("#", ".")
    n = BAR_WIDTH * task.done // task.total
    facts = [task.name, full * n + empty * (BAR_WIDTH - n), f"{task.done}/{task.total}", time_text]
    line = "  ".join(facts)
    return line if len(line) <= width else "  ".join([facts[0], *facts[2:]])


@contextmanager
def bar(console: Console, with_stdout: bool = False) -> Iterator[BarProgress]:
    """A bar on a console, which disappears at the end; messages remain.

    Parameters
    ----------
    console : rich.console.Console
    with_stdout : bool
        See `BarProgress`.
    """
    shown = BarProgress(console, with_stdout=with_stdout)
    with shown.live:
        yield shown


def wrapped(text: str, width: int) -> str:
    """Text broken between words to a width; words, such as paths, stay whole."""
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line.strip(),
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"

"""Draw the numbers that speed.py saved.

python benchmarks/plot.py speed.json -o docs/performance.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

MARKS = "osD^vP*X"


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Seconds by number of points, and rates in units of the plain way's."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        what = "map" if row["mode"] == "grid" else "list"
        n = row["bodies"]
        bodies = "1 body" if n == 1 else f"{n} bodies"
        name = f"{row['structure']}, {what}, {row['engine']} ({row['atoms']} atoms, {bodies})"
        curves.setdefault(name, []).append(row)
    for i, (name, curve) in enumerate(curves.items()):
        curve.sort(key=lambda row: row["points"])
        style = {"marker": MARKS[i % len(MARKS)], "ms": 5, "lw": 1.3, "color": f"C{i % 10}"}
        style["ls"] = "-" if ", map" in name else "--" if "mesh" in name else ":"
        n = [row["points"] for row in curve]
        left.loglog(n, [row["forward_s"] for row in curve], label=name, **style)
        right.loglog(n, [row["over_plain"] for row in curve], **style)
    left.set(xlabel="points", ylabel="seconds", title="Time of the intensity")
    right.set(xlabel="points", ylabel="rate / rate of the plain sum", title="Gain over plain NumPy")
    right.axhline(1, color="0.5", lw=0.8)
    for panel in (left, right):
        panel.grid(True, which="major", color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def main() -> None:
    """Read, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="JSON from speed.py")
    parser.add_argument("-o", "--output", type=Path, default=Path("performance.png"))
    arguments = parser.parse_args()
    rows = [row for file in arguments.files for row in json.loads(file.read_text())]
    draw(rows).savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()

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
        what = "map" if row["mode"] == "grid" else "list of q"
        bodies = "1 body" if row["bodies"] == 1 else f"{row['bodies']} bodies"
        name = f"{row['structure']} ({row['atoms']} atoms, {bodies}), {what}"
        curves.setdefault(name, []).append(row)
    structures = list(dict.fromkeys(row["structure"] for row in rows))
    for name, curve in curves.items():
        curve.sort(key=lambda row: row["points"])
        i = structures.index(curve[0]["structure"])
        style = {"color": f"C{i}", "lw": 1.3, "ls": "-" if name.endswith("map") else ":"}
        n = [row["points"] for row in curve]
        for panel, key in ((left, "forward_s"), (right, "over_plain")):
            own = name if panel is left else None
            panel.loglog(n, [row[key] for row in curve], label=own, **style)
            for row in curve:
                face = f"C{i}" if row["engine"] == "mesh" else "white"
                mark = {"marker": MARKS[i % len(MARKS)], "ms": 5, "mfc": face, "mec": f"C{i}"}
                panel.loglog(row["points"], row[key], **mark)
    left.set(xlabel="points", ylabel="seconds", title="Time (filled: mesh, open: direct sum)")
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

"""Maps of one phonon and of every order, and how much of the intensity one phonon is.

Scattering by two phonons and more grows with resolution and with the B-factors. How much one phonon
is of the whole is computed for crambin as it is, and with B-factors four times as large, as in
many a crystal at room temperature. For the latter a section of the map is drawn, half an index
from the Bragg points, where one phonon has no peaks.

    python examples/every_order.py [--output FOLDER] [--small]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from onephonon import OnePhonon, read_crystal
from onephonon.data import crambin_path

#: Factors of the B-factors.
FACTORS = (1.0, 4.0)
COLOURS = ("#0072B2", "#D55E00")


def main(output: Path, small: bool = False) -> dict[str, object]:
    """Compute shares and a section of the map, draw; returns shares and both sections."""
    d_min, section = (2.5, 3.5) if small else (1.6, 2.0)
    crystal = read_crystal(crambin_path())
    models = [OnePhonon(crystal.replace(U=factor * crystal.U)) for factor in FACTORS]
    shares = [model.one_phonon_share(d_min, n_shells=4 if small else 8) for model in models]
    for factor, share in zip(FACTORS, shares, strict=True):
        print(f"B x {factor:g}: one phonon is")
        for (d_max, d), value in zip(share.d, share.share, strict=True):
            print(f"  {100 * value:5.1f} % of the intensity at {d_max:5.2f} to {d:.2f} Å")

    a, b, _ = crystal.cell.parameters[:3]
    n_h, n_k = int(a / section), int(b / section)
    steps = 4 if small else 6
    ranges = ((-n_h, n_h, steps), (-n_k, n_k, steps), (0.5, 0.5, 2))
    warm = OnePhonon(models[1].crystal, *ranges, res_limit=section, orders="all", rtol=1e-4)
    with torch.no_grad():
        every = warm(use_data_adp=True).reshape(warm.map_shape)[:, :, 0].numpy()
        first = warm(use_data_adp=True, orders=1).reshape(warm.map_shape)[:, :, 0].numpy()
    error = warm.order_error
    print(f"the map: {error}")
    draw(output, shares, first, every, (n_h, n_k))
    return {"shares": shares, "first": first, "every": every, "error": error}


def draw(output, shares, first, every, reach) -> None:
    """Both sections, and the share of one phonon against resolution."""
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    limits = {"vmin": 0.0, "vmax": float(np.nanquantile(every, 0.98))}
    n_h, n_k = reach
    extent = (-n_h, n_h, -n_k, n_k)
    for axes, values, title in ((left, first, "one phonon"), (middle, every, "every order")):
        picture = axes.imshow(
            values.T, origin="lower", extent=extent, cmap="magma", aspect="auto", **limits
        )
        axes.set(xlabel="h", ylabel="k", title=f"{title}, l = ½, B × {FACTORS[1]:g}")
    figure.colorbar(picture, ax=(left, middle), label="e² per cell", extend="max")
    for factor, share, colour in zip(FACTORS, shares, COLOURS, strict=True):
        edges = [1 / d for d, _ in share.d] + [1 / share.d[-1][1]]
        label = f"B × {factor:g}"
        right.stairs(share.share, edges, baseline=None, color=colour, lw=2, label=label)
    ticks = [d for d in (10, 5, 4, 3, 2.5, 2, 1.8, 1.6) if d >= share.d[-1][1] - 1e-9]
    right.set_xticks([1 / d for d in ticks], [f"{d:g}" for d in ticks])
    right.set(xlabel="resolution d / Å", title="share of one phonon", ylim=(0, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.grid(alpha=0.3)
    right.legend(loc="lower left")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "every_order.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="lower resolution")
    main(**vars(parser.parse_args()))

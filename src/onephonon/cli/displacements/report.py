"""Tables and files of ``onephonon displacements``."""

from __future__ import annotations

from pathlib import Path

from onephonon.core.json_files import write_json
from onephonon.dynamics.joint import Joint
from onephonon.dynamics.joint_tables import joint_json, joint_rows, molecule_rows
from onephonon.dynamics.tables import write_rows
from onephonon.model.one_phonon import OnePhonon
from onephonon.network.interfaces import WITHIN

from ..console import SafeConsole
from ..tables import print_table

#: Number of pairs listed in the terminal; files contain all.
N_SHOWN = 16


def show_joint(joint: Joint, name: str) -> None:
    """Print the nearest molecules, one of each pair and its reverse, and the interfaces."""
    console = SafeConsole()
    pairs = joint.molecules
    parallel, across = pairs.along(pairs.U)
    mesh = " x ".join(str(n) for n in joint.mesh)
    title = (
        f"{name}: joint displacements of molecules, Å², within {joint.molecules_within:.1f} Å\n"
        f"mean over {mesh} wavevectors"
    )
    rows: list[list[str]] = []
    seen: set[str] = set()
    for n, interface in enumerate(pairs.operators.interface):
        if interface in seen or len(rows) == N_SHOWN:
            continue
        seen.add(interface)
        rows.append(
            [
                "itself" if interface == WITHIN else interface,
                f"{float(pairs.distance[n]):.1f}",
                "yes" if bool(pairs.touching[n]) else "",
                *(f"{float(x[n]):.4f}" for x in (parallel, across)),
                f"{float(pairs.correlation[n]):.2f}",
            ]
        )
    headings = ["operator", "distance / Å", "contact", "parallel", "perpendicular", "correlation"]
    print_table(console, title, headings, rows)
    if joint.contacts.n_pairs:
        console.print()
        _show_interfaces(console, joint)


def _show_interfaces(console: SafeConsole, joint: Joint) -> None:
    """How far atoms in contact move relative to each other, by interface."""
    contacts = joint.contacts
    parts = [x.clamp(min=0.0) for x in contacts.along(contacts.relative)]
    rows = []
    names = contacts.operators.interface
    for interface in dict.fromkeys(names):
        here = [n for n, x in enumerate(names) if x == interface]
        rms = [float(part[here].mean().sqrt()) for part in parts]
        rows.append([interface, str(len(here)), *(f"{x:.3f}" for x in rms)])
    rows.sort(key=lambda row: float(row[2]))
    headings = ["interface", "contacts", "along", "across"]
    title = "relative displacement of atoms in contact, rms / Å"
    print_table(console, title, headings, rows[:N_SHOWN])


def write_joint(joint: Joint, folder: Path, name: str, force: bool) -> list[str]:
    """Write tables and picture; return the names of the files."""
    from onephonon.viz.plot.joint import draw_joint
    from onephonon.viz.plot.saving import save

    tables = {"molecules.csv": molecule_rows(joint)}
    if joint.has_parts:
        tables["bodies.csv"] = joint_rows(joint.bodies)
    if joint.contacts.n_pairs:
        tables["atom_pairs.csv"] = joint_rows(joint.contacts, of_atoms=True)
    for file, rows in tables.items():
        write_rows(rows, folder / file, force)
    write_json({"structure": name} | joint_json(joint), folder / "joint.json", force)
    save(draw_joint(joint, title=f"{name}: joint displacements"), folder / "joint.png", force)
    return [*tables, "joint.json", "joint.png"]


def write_scene_files(
    model: OnePhonon, folder: Path, joint: Joint, name: str, force: bool
) -> list[str]:
    """Write files for programs that show molecules; return their names."""
    from onephonon.viz.scenes import write_scenes

    written = write_scenes(model, folder, joint, title=name, force=force)
    return [path.name for path in written]

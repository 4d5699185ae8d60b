"""Options that commands share: the same everywhere, plain, and with the library's defaults."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
import typer

from onephonon import OnePhonon
from onephonon.cli import app
from onephonon.cli.app import FORMER_SPELLINGS
from onephonon.cli.compare.options import ComparisonOptions
from onephonon.cli.fit.options import (
    DataOptions,
    FitResolution,
    ObjectiveOptions,
    SeriesOptions,
    fit_settings,
)
from onephonon.cli.groups import OptionGroup
from onephonon.cli.models import model_arguments
from onephonon.cli.modes.options import AnimationOptions
from onephonon.cli.options.displacements import DebyeWallerOptions, DisplacementOptions
from onephonon.cli.options.map_reading import MapReadingOptions
from onephonon.cli.options.network import NetworkOptions
from onephonon.cli.options.numerics import DeviceOptions, NumericsOptions
from onephonon.cli.options.occupation import OccupationOptions
from onephonon.cli.options.orders import MultiphononOptions, OrderOptions
from onephonon.cli.options.output import MessageOptions, OutputOptions
from onephonon.cli.options.resolution import ResolutionOptions
from onephonon.cli.options.springs import SpringOptions
from onephonon.cli.options.structure import StructureOptions
from onephonon.cli.options.voxels import VoxelOptions
from onephonon.cli.simulate.options import PointOptions
from onephonon.compare import Settings
from onephonon.crystal import read_crystal
from onephonon.maps.io import read_map
from onephonon.refine.settings import FitSettings
from onephonon.viz.trajectory.mode_trajectory import mode_pattern
from structures import DATA

GROUP = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands  # type: ignore[attr-defined]

#: Commands that read a structure, build a network, give it constants, read maps, compute.
READ_STRUCTURES = {"simulate", "compare", "fit", "verify", "modes", "contacts", "displacements"}
READ_MAPS = {"compare", "fit", "convert", "info", "patterson", "view", "visualize"}
SHARED = {
    StructureOptions: READ_STRUCTURES | {"info"},
    NetworkOptions: READ_STRUCTURES,
    # Contacts have no constants yet, and a fit finds them.
    SpringOptions: READ_STRUCTURES - {"contacts", "fit"},
    DisplacementOptions: {"simulate", "compare", "modes", "displacements"},
    DebyeWallerOptions: {"simulate", "compare"},
    OccupationOptions: {"simulate", "compare"},
    # A supercell has a mesh of its own.
    OrderOptions: {"simulate", "compare", "fit", "verify"},
    MultiphononOptions: {"simulate", "compare", "fit"},
    DeviceOptions: {"simulate", "compare", "fit"},
    NumericsOptions: {"simulate", "compare"},
    MapReadingOptions: READ_MAPS,
    ResolutionOptions: {"compare", "fit", "patterson"},
    VoxelOptions: {"compare", "fit"},
    MessageOptions: set(COMMANDS),
    OutputOptions: set(COMMANDS) - {"verify"},  # which writes no file
}

#: Options that are another thing in another command.
HOMONYMS = {"--profile", "--voxels"}


def groups_of(command: str) -> list[type[OptionGroup]]:
    function = inspect.unwrap(COMMANDS[command].callback)
    hints = get_type_hints(function)
    return [h for h in hints.values() if isinstance(h, type) and issubclass(h, OptionGroup)]


def all_groups() -> list[type[OptionGroup]]:
    return list(dict.fromkeys(group for name in COMMANDS for group in groups_of(name)))


def parse(command: str, *arguments: object) -> dict[str, Any]:
    """Values of a command's parameters, as its function would be given them."""
    top = GROUP.make_context("onephonon", [], resilient_parsing=True)
    given = [str(argument) for argument in arguments]
    return dict(COMMANDS[command].make_context(command, given, parent=top).params)


@pytest.mark.parametrize("group", SHARED)
def test_every_command_that_needs_a_group_has_it(group: type[OptionGroup]) -> None:
    having = {name for name in COMMANDS if any(issubclass(g, group) for g in groups_of(name))}
    assert having == SHARED[group]


@pytest.mark.parametrize("group", SHARED)
def test_shared_options_are_offered_by_their_names(group: type[OptionGroup]) -> None:
    for name in SHARED[group]:
        offered = {parameter.name for parameter in COMMANDS[name].params}
        assert set(group.names()) <= offered


def test_an_option_is_the_same_in_every_command() -> None:
    kinds: dict[str, set[object]] = {}
    for command in COMMANDS.values():
        declared = inspect.signature(command.callback).parameters
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    kind, *_ = get_args(declared[parameter.name].annotation)
                    # Whether an option may be left out is the command's own affair.
                    kinds.setdefault(option, set()).add(kind | None)
    assert {option for option, found in kinds.items() if len(found) > 1} == HOMONYMS


@pytest.mark.parametrize("group", all_groups())
def test_groups_are_plain_and_make_the_round_trip(group: type[OptionGroup]) -> None:
    plain = group()
    values = asdict(plain)
    assert group(**values) == plain
    for value in values.values():
        assert value is None or isinstance(value, str | int | float | bool | Path | tuple)


def test_groups_that_were_given_make_the_round_trip() -> None:
    for group in (
        StructureOptions(waters=True, conformers="all", model_number="2", solvent=0.334),
        MapReadingOptions(cell=(1, 2, 3, 90, 90, 90), cell_from=Path("a.pdb"), origin=(1, 2, 3)),
        PointOptions(h=(-1, 1, 2), q=Path("q.txt"), d_min=2.0),
        AnimationOptions(animate=Path("a.pdb"), modes=(1, 2), cells=(1, 2, 3)),
    ):
        assert type(group)(**asdict(group)) == group


# the library's defaults


def defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def test_defaults_are_those_of_the_model() -> None:
    known = defaults(OnePhonon.__init__) | defaults(read_crystal)
    known |= {"solvent": 0.0, "solvent_smoothing": 0.0}
    groups = (
        *(StructureOptions(), NetworkOptions(), SpringOptions()),
        *(DisplacementOptions(), MultiphononOptions(), OccupationOptions(), NumericsOptions()),
        PointOptions(),
    )
    given = model_arguments(*groups)
    assert given == {name: known[name] for name in given}
    assert NumericsOptions().tensor_arguments()["dtype"] == known["dtype"]
    assert set(defaults(read_crystal)) <= set(given)


def test_defaults_are_those_of_comparisons_and_fits() -> None:
    resolution, voxels = ResolutionOptions(), VoxelOptions()
    assert ComparisonOptions().settings(resolution, voxels.reindex) == Settings()
    groups = (DataOptions(), FitResolution(), voxels, ObjectiveOptions(), SeriesOptions())
    assert fit_settings(*groups) == FitSettings()


def test_defaults_are_those_of_maps_and_films() -> None:
    assert MapReadingOptions().map_overrides() == defaults(read_map)
    assert AnimationOptions().pattern_arguments() == {
        name: default for name, default in defaults(mode_pattern).items() if name != "mode"
    }


# what groups do


def test_a_structure_is_read_as_the_model_reads_it() -> None:
    options = StructureOptions(
        hydrogens=True, waters=True, isotropic=True, whole_cell=True, solvent=0.334
    )
    crystal = options.read_crystal(DATA / "5zck.pdb")
    arguments = options.model_arguments() | {"gnm_cutoff": 20.0}
    model = OnePhonon(DATA / "5zck.pdb", **arguments)
    assert crystal.spacegroup == model.crystal.spacegroup == "P 1"
    assert torch.equal(crystal.positions_frac, model.crystal.positions_frac)
    assert torch.equal(crystal.U, model.crystal.U)
    q_squared = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    ours, theirs = (c.form_factors.evaluate(q_squared) for c in (crystal, model.crystal))
    assert torch.equal(ours, theirs)
    dry = StructureOptions(hydrogens=True, waters=True).read_crystal(DATA / "5zck.pdb")
    assert (ours < dry.form_factors.evaluate(q_squared)).all()


def test_the_mesh_is_an_argument_of_its_own() -> None:
    known = {"thermal_scale": None, "mesh": None, "zone_average": "crystal"}
    assert DisplacementOptions().model_arguments() == known
    assert DisplacementOptions(mesh=(2, 3, 4)).model_arguments()["mesh"] == (2, 3, 4)


# spellings


def test_options_of_several_words_have_hyphens() -> None:
    spelled = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    options = {option for option in spelled if option.startswith("--")}
    assert {"--d-min", "--d-max", "--space-group", "--model-number"} <= options
    assert not {option for option in options if "_" in option or option != option.lower()}
    assert not options & {f"--{former}" for former in FORMER_SPELLINGS}


@pytest.mark.parametrize(
    ("command", "former", "current"),
    [
        ("simulate a.pdb -o a.npz", "--dmin 2", {"d_min": 2.0}),
        ("compare a.h5 b.h5", "--dmin 2 --dmax 9", {"d_min": 2.0, "d_max": 9.0}),
        ("fit a.pdb b.h5 -o fit", "--dmin 2 --dmax 9", {"d_min": 2.0, "d_max": 9.0}),
        ("verify a.pdb", "--no-expand", {"whole_cell": True}),
        ("contacts a.pdb", "--no-expand", {"whole_cell": True}),
        ("convert a.lat a.h5", "--spacegroup P1", {"space_group": "P1"}),
        ("view a.lat", "--spacegroup P1", {"space_group": "P1"}),
    ],
)
def test_former_spellings_still_work(command: str, former: str, current: dict[str, Any]) -> None:
    name, *arguments = command.split()
    found = parse(name, *arguments, *former.split())
    assert {key: found[key] for key in current} == current


def test_every_former_spelling_leads_to_an_option() -> None:
    options = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    assert {f"--{current}" for current in FORMER_SPELLINGS.values()} <= options

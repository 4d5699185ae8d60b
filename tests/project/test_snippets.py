"""Every block of code in the documentation runs alone, in a new folder, on small files.

Blocks marked ``python`` and ``sh`` are run. A block after the comment

    <!-- not run: why -->

is not; others are formulas and diagrams. The files that a block reads (``model.pdb``,
``measured.h5``, ...) are made here, small; commands read them under the names in the text.
"""

from __future__ import annotations

import itertools
import logging
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from commands import run_command
from crystals import made_up
from densities import structure_factor_file
from onephonon import DiffuseMap, MapGrid, OnePhonon, SpringPlan, read_crystal, write_map
from structures import DATA

# torch's own, in forward-mode derivatives.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Largest number of blocks that are not run.
MAX_NOT_RUN = 2

#: Options whose value is a file that a command writes.
WRITTEN = ("-o", "--output", "--csv", "--json", "--png", "--animate")


@dataclass(frozen=True)
class Snippet:
    """A block of code: where it is, its language ('' for none), its text, and if it is run."""

    page: Path
    line: int
    language: str
    text: str
    run: bool

    @property
    def name(self) -> str:
        """Page and line."""
        return f"{self.page.stem}-{self.line}"


def snippets() -> Iterator[Snippet]:
    """All blocks of all pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        block = r"^(<!-- not run: .+ -->\n+)?```(\w*)\n(.*?)^```$"
        for found in re.finditer(block, text, re.M | re.S):
            line = text[: found.start(2)].count("\n") + 1
            yield Snippet(page, line, found[2], found[3], not found[1])


EVERY = list(snippets())


def commands_of(text: str) -> list[list[str]]:
    """Words of each command of a block, without comments."""
    joined = text.replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the files that blocks read."""
    folder = tmp_path_factory.mktemp("prepared")
    shutil.copy(DATA / "5zck.pdb", folder / "model.pdb")
    measured = a_measured_map(folder / "model.pdb")
    for name in ("measured.h5", "measured.nxs", "measured.lat", "data.h5", "data.nxs"):
        write_map(measured, folder / name)
    write_map(measured, folder / "map.h5")
    # A model that does not explain everything.
    other = measured.intensity * np.random.default_rng(1).uniform(0.8, 1.2, measured.map_shape)
    write_map(measured.changed("other", {"intensity": other}), folder / "model.h5")
    crystal = read_crystal(folder / "model.pdb", hydrogens="riding")
    coefficients = structure_factor_file(crystal, 0.9, ("FWT", "PHWT"))
    coefficients.write_to_file(str(folder / "refined.mtz"))
    q = np.random.default_rng(0).uniform(0.2, 1.5, (20, 3))
    np.savetxt(folder / "qvectors.txt", q)
    write_pdb(made_up("P 41", cell=(6.0, 6.0, 9.0, 90.0, 90.0, 90.0)), folder / "1stn.pdb")
    nuclease = OnePhonon(folder / "1stn.pdb", *[(-4, 4, 2)] * 3).to_map()
    coarse = DiffuseMap.on_grid(
        nuclease.volume[1::2, 1::2, 1::2],
        MapGrid((-4, -4, -4), (1, 1, 1), (8, 8, 8)),
        nuclease.cell,
    )
    write_map(coarse, folder / "snase_diffuse.lat")
    return folder


def a_measured_map(structure: Path) -> DiffuseMap:
    """A map of a structure whose springs differ between interfaces, with noise of 3 %."""
    ranges = ((-2, 2, 3), (-6, 6, 3), (-6, 6, 3))
    truth = OnePhonon(structure, *ranges, springs=SpringPlan(by="interface"))
    rng = np.random.default_rng(0)
    with torch.no_grad():
        truth.springs.set_values(np.exp(rng.normal(0, 0.7, len(truth.springs.names))))
        exact = truth.to_map(use_data_adp=True)
    noise = 0.03 * float(np.nanmean(exact.intensity))
    values = exact.intensity + rng.normal(0, noise, exact.intensity.shape)
    arrays = {"intensity": values, "sigma": np.full(values.shape, noise)}
    return exact.changed("noise", arrays)


def write_pdb(crystal: object, path: Path) -> None:
    """Write a crystal as PDB."""
    made = gemmi.Structure()
    made.cell = gemmi.UnitCell(*crystal.cell.parameters)
    made.spacegroup_hm = crystal.spacegroup
    chain = gemmi.Chain("A")
    residue = gemmi.Residue()
    residue.name, residue.seqid = "ALA", gemmi.SeqId("1")
    for name, xyz in zip(("N", "CA", "C", "O", "CB"), crystal.positions.tolist(), strict=True):
        atom = gemmi.Atom()
        atom.name, atom.element = name, gemmi.Element(name[0])
        atom.pos, atom.b_iso = gemmi.Position(*xyz), 15.0
        residue.add_atom(atom)
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    made.add_model(model)
    made.write_pdb(str(path))


def provide(prepared: Path, wanted: set[str]) -> None:
    """Copy the prepared files that are read into the working folder, if they are not there."""
    for name in wanted:
        if (prepared / name).exists() and not Path(name).exists():
            shutil.copy(prepared / name, name)


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new working folder; what a block changes for the whole process is put back.

    Reports of fits are written without their pictures, which take most of the time and are tested
    in tests/viz.
    """
    from onephonon.viz.report import pictures

    monkeypatch.setattr(pictures, "drawn", lambda *_, **__: pictures.paragraph("not drawn"))
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    torch.manual_seed(0)
    yield tmp_path
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    "snippet", [s for s in EVERY if s.language == "python" and s.run], ids=lambda s: s.name
)
def test_python(snippet: Snippet, prepared: Path) -> None:
    provide(prepared, set(re.findall(r'"([\w.]+)"', snippet.text)))
    code = compile(snippet.text, f"{snippet.page.name}:{snippet.line}", "exec")
    exec(code, {"__name__": "snippet"})


# The crystal at hand scatters a fifth by more phonons than one at the resolutions of its halos.
@pytest.mark.filterwarnings("ignore:the fit is of one phonon")
@pytest.mark.parametrize(
    "snippet", [s for s in EVERY if s.language == "sh" and s.run], ids=lambda s: s.name
)
def test_commands(snippet: Snippet, prepared: Path) -> None:
    for words in commands_of(snippet.text):
        if words[0] == "make":
            # Not run: they install and test. The targets exist.
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
            continue
        assert words[0] == "onephonon"
        written = {b for a, b in itertools.pairwise(words) if a in WRITTEN}
        if words[1] == "convert":
            written.add(words[3])
        provide(prepared, set(words) - written)
        run_command(*words[1:])
        for name in written:
            assert Path(name).exists(), f"{shlex.join(words)} did not write {name}"


def test_few_blocks_are_not_run_and_all_that_look_like_code_are_marked() -> None:
    assert sum(not s.run for s in EVERY) <= MAX_NOT_RUN
    assert sum(s.language == "python" for s in EVERY) >= 8
    assert sum(s.language == "sh" for s in EVERY) >= 10
    for snippet in EVERY:
        assert snippet.language in ("python", "sh", "")
        if not snippet.language:
            assert not re.search(r"^(onephonon|make|import|from) ", snippet.text, re.M), (
                f"{snippet.name} looks like code; mark it python or sh"
            )


def test_every_fence_belongs_to_a_block() -> None:
    fences = sum(len(re.findall("^```", page.read_text("utf-8"), re.M)) for page in PAGES)
    assert fences == 2 * len(EVERY)

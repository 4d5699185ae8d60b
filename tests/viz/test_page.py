"""A map as a page: what is reduced, how it is stored, what is in the file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from commands import run_command
from onephonon import DiffuseMap, FileError, InputError, MapGrid, write_map
from onephonon.crystal import numpy_cell
from onephonon.maps import split_isotropic
from onephonon.viz.page import write_page
from onephonon.viz.page.blocks import block_factors, block_grid, block_means
from onephonon.viz.page.coding import encode
from pages import read

CELL = (27.2, 31.9, 34.2, 88.5, 108.6, 111.8)
GRID = MapGrid((-1.5, -2.0, 0.25), (0.5, 1 / 3, 0.25), (7, 9, 10))


def noise(grid: MapGrid = GRID, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).lognormal(3, 1, grid.shape)
    values[1, 2, 3] = np.nan
    return values


def a_map(values: np.ndarray | None = None, grid: MapGrid = GRID, **more: object) -> DiffuseMap:
    values = noise(grid) if values is None else values
    return DiffuseMap.on_grid(values, grid, CELL, spacegroup="P 1", **more)


def assert_stored(values: np.ndarray, expected: np.ndarray, entry: dict) -> None:
    """Values are the expected ones to the precision that the page states."""
    assert (np.isnan(values) == np.isnan(expected)).all()
    there = ~np.isnan(expected)
    # A thousandth more than half a step: the step is a linear measure of a curve.
    allowed = 1.001 * entry["precision"] * np.hypot(expected, entry["width"])
    assert (np.abs(values - expected)[there] <= allowed[there]).all()


def slow_means(values: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    shape = [-(-n // f) for n, f in zip(values.shape, factors, strict=True)]
    means = np.full(shape, np.nan)
    for i, j, k in np.ndindex(*shape):
        block = values[
            tuple(slice(at * f, at * f + f) for at, f in zip((i, j, k), factors, strict=True))
        ]
        there = block[~np.isnan(block)].astype(np.float64)
        means[i, j, k] = there.mean() if there.size else np.nan
    return means


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 3, 4), (3, 1, 2), (7, 9, 10), (9, 4, 5)])
def test_block_means_are_those_of_the_valid_voxels(
    factors: tuple[int, int, int], dtype: type
) -> None:
    values = noise().astype(dtype)
    values[:3, :4, :5] = np.nan  # some blocks have nothing
    # Sums in another order, in double precision.
    np.testing.assert_allclose(
        block_means(values, factors), slow_means(values, factors), rtol=1e-12
    )


def test_blocks_stand_in_the_middle_of_their_voxels() -> None:
    factors = (2, 3, 5)
    blocks = block_grid(GRID, factors)
    for old, new, f in zip(GRID.axes, blocks.axes, factors, strict=True):
        whole = len(old) // f
        np.testing.assert_allclose(new[:whole], old[: whole * f].reshape(-1, f).mean(axis=1))


@given(
    st.tuples(*[st.integers(1, 400)] * 3),
    st.tuples(*[st.floats(0.01, 3)] * 3),
    st.integers(1, 10**6),
)
def test_blocks_keep_within_the_number_asked_for(
    shape: tuple[int, int, int], step: tuple[float, float, float], voxels: int
) -> None:
    grid = MapGrid((0, 0, 0), step, shape)
    factors = np.array(block_factors(grid, CELL, voxels))
    assert np.prod(block_grid(grid, tuple(factors)).shape) <= voxels
    if grid.size <= voxels:
        assert factors.tolist() == [1, 1, 1]
    # An axis is coarsened only while its voxels are the shortest of those still to coarsen.
    lengths = np.linalg.norm(numpy_cell(CELL).inverse, axis=1) * np.array(step)
    coarse = factors > 1
    before = np.where(coarse, lengths * (factors - 1), 0)
    now = np.where(np.array(block_grid(grid, tuple(factors)).shape) > 1, lengths * factors, np.inf)
    assert before.max() <= now.min() * (1 + 1e-12)


def test_no_axis_is_longer_than_graphics_cards_take() -> None:
    grid = MapGrid((0, 0, 0), (0.01, 0.01, 1), (5000, 30, 1))
    assert block_grid(grid, block_factors(grid, CELL, 10**7)).shape[0] <= 1024


@pytest.mark.parametrize(
    "values",
    [
        np.array([np.nan, 0.0, 1e-6, 1.0, -3.0, 1e7, 12.25]),
        np.array([5.0, 5.0, np.nan]),
        np.zeros(3),
        np.random.default_rng(1).normal(0, 1e-12, 1000),
        np.random.default_rng(1).lognormal(0, 4, 1000).astype(np.float32),
    ],
)
def test_codes_are_as_precise_as_they_say(values: np.ndarray) -> None:
    coded = encode(values)
    back = coded.values()
    entry = {"precision": coded.precision, "width": coded.width}
    assert_stored(back, values, entry)
    assert coded.precision < 1e-3


def test_a_page_holds_the_map(tmp_path: Path) -> None:
    diffuse = a_map(units="e^2 per cell", history=("simulated",))
    write_page(diffuse, tmp_path / "page.html", title="A <b>map</b> & more </script>")
    head, (values,) = read(tmp_path / "page.html")
    assert head["shape"] == list(GRID.shape)
    assert head["blocks"] == [1, 1, 1]
    assert head["origin"] == list(GRID.origin)
    assert head["step"] == list(GRID.step)
    np.testing.assert_allclose(head["axes"], numpy_cell(CELL).inverse)
    entry = head["maps"][0]
    assert entry["units"] == "e^2 per cell"
    assert entry["history"] == ["simulated"]
    assert_stored(values, diffuse.volume, entry)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "A &lt;b&gt;map&lt;/b&gt; &amp; more" in text
    assert head["title"] == "A <b>map</b> & more </script>"


def test_a_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    write_page(a_map(), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert not re.search(r"url\((?!data:)", text)
    assert "The MIT License" in text  # that of three.js goes with it


def test_a_page_runs_its_own_scripts_alone(tmp_path: Path) -> None:
    for name, title in (("a", "one"), ("b", "one"), ("c", "two")):
        write_page(a_map(), tmp_path / f"{name}.html", title=title)
    pages = [(tmp_path / f"{name}.html").read_text("utf-8") for name in "abc"]
    nonces = []
    for text in pages:
        policy = re.search(r'Security-Policy" content="([^"]*)"', text)[1]
        nonce = re.search(r"script-src 'nonce-(\w+)'; style-src 'nonce-(\w+)';", policy)
        assert nonce[1] == nonce[2]
        assert "unsafe" not in policy
        assert text.count(nonce[1]) == 5  # the policy twice, the style, two scripts
        nonces.append(nonce[1])
    # Nobody can write it into a title, since it follows from the title; and it stays the same.
    assert nonces[0] == nonces[1] != nonces[2]


def test_every_program_of_the_page_is_in_it(tmp_path: Path) -> None:
    write_page(a_map(), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    found = re.search(r'<script type="importmap" nonce="\w+">(.*)</script>', text)
    imports = json.loads(found[1])["imports"]
    programs = {path.name for path in (files("onephonon.viz.page") / "assets").iterdir()}
    ours = {base64.b64decode(url.split(",")[1]).decode() for url in imports.values()}
    for name in sorted(n for n in programs if n.endswith(".js")):
        source = (files("onephonon.viz.page") / "assets" / name).read_text("utf-8")
        assert source in ours, name
        assert set(re.findall(r'from "([^"]+)"', source)) <= set(imports), name


def test_the_drawing_library_is_as_it_was_bundled() -> None:
    vendor = files("onephonon.viz.page") / "assets" / "vendor"
    digest = hashlib.sha256(vendor.joinpath("three.js").read_bytes()).hexdigest()
    assert digest in vendor.joinpath("README.md").read_text("utf-8")


def test_a_large_map_is_reduced_and_says_so(tmp_path: Path) -> None:
    diffuse = a_map()
    write_page(diffuse, tmp_path / "page.html", voxels=100)
    head, (values,) = read(tmp_path / "page.html")
    factors = tuple(head["blocks"])
    assert max(factors) > 1
    assert values.size <= 100
    assert head["fullShape"] == list(GRID.shape)
    assert_stored(values, slow_means(diffuse.volume, factors), head["maps"][0])


def test_a_second_map_on_another_grid_is_put_on_the_first(tmp_path: Path) -> None:
    def plane(grid: MapGrid) -> np.ndarray:
        h, k, l = np.meshgrid(*grid.axes, indexing="ij")  # noqa: E741
        return 100 + 3 * h - 2 * k + l

    other = MapGrid((-2, -2, 0), (0.4, 0.4, 0.4), (12, 12, 12))
    first = a_map(plane(GRID))
    write_page(first, tmp_path / "a.html", a_map(plane(other), other))
    head, (a, b) = read(tmp_path / "a.html")
    both = ~np.isnan(b)
    assert both.mean() > 0.7
    # A plane is interpolated exactly; what is left is the rounding to 16 bits.
    np.testing.assert_allclose(b[both], a[both], rtol=2 * head["maps"][1]["precision"])
    assert "interpolated linearly" in head["maps"][1]["note"]
    write_page(first, tmp_path / "b.html", a_map(plane(other), other), voxels=60)
    assert "averaged" in read(tmp_path / "b.html")[0]["maps"][1]["note"]
    write_page(first, tmp_path / "c.html", first)
    assert read(tmp_path / "c.html")[0]["maps"][1]["note"] == ""


def test_a_second_map_of_a_slightly_different_cell_says_so(tmp_path: Path) -> None:
    other = DiffuseMap.on_grid(noise(), GRID, (27.4, *CELL[1:]))
    write_page(a_map(), tmp_path / "a.html", other)
    assert "its cell is 27.4, 31.9" in read(tmp_path / "a.html")[0]["maps"][1]["note"]


def test_a_second_map_of_another_cell_is_refused(tmp_path: Path) -> None:
    other = DiffuseMap.on_grid(noise(), GRID, (30, *CELL[1:]))
    with pytest.raises(InputError, match=r"the data's cell \(30, 31.9.* is not the model's \(27.2"):
        write_page(a_map(), tmp_path / "a.html", other)
    assert not (tmp_path / "a.html").exists()


def test_maps_that_cannot_be_shown_raise(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    points = DiffuseMap.at_points(np.eye(3), np.ones(3), CELL)
    far = MapGrid((50, 50, 50), GRID.step, GRID.shape)
    with pytest.raises(InputError, match="list of q-vectors"):
        write_page(points, page)
    with pytest.raises(InputError, match="list of q-vectors"):
        write_page(a_map(), page, points)
    with pytest.raises(InputError, match="first has no values"):
        write_page(a_map(np.full(GRID.shape, np.nan)), page)
    with pytest.raises(InputError, match="there has no values on the grid of the page"):
        write_page(a_map(), page, a_map(grid=far), names=("here", "there"))
    with pytest.raises(InputError, match=r"voxels 0: .*must be positive"):
        write_page(a_map(), page, voxels=0)
    with pytest.raises(FileError, match=r"is an \.html file"):
        write_page(a_map(), tmp_path / "map.h5", force=True)
    assert not page.exists()
    page.write_text("mine")
    with pytest.raises(FileError, match="exists"):
        write_page(a_map(), page)
    assert page.read_text() == "mine"
    write_page(a_map(), page, force=True)
    assert page.stat().st_size > 1000


def test_view_writes_and_opens_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(typer, "launch", opened.append)
    write_map(a_map(), tmp_path / "map.h5")
    assert f"wrote {tmp_path / 'map.html'}" in run_command("view", tmp_path / "map.h5", "--open")
    assert opened == [(tmp_path / "map.html").resolve().as_uri()]
    head, _ = read(tmp_path / "map.html")
    assert head["title"] == "map.h5"
    with pytest.raises(FileError, match="exists"):
        run_command("view", tmp_path / "map.h5")


def test_view_takes_missing_information_from_options(tmp_path: Path) -> None:
    values = noise()
    np.save(tmp_path / "map.npy", values)
    run_command(
        "view", tmp_path / "map.npy", "--cell", *CELL, "--spacegroup", "P 1", "--title", "Mine",
        "--h", -1.5, 1.5, 2, "--k", -2, 2 / 3, 3, "--l", 0.25, 2.5, 4,
    )  # fmt: skip
    head, (stored,) = read(tmp_path / "map.html")
    assert head["title"] == "Mine"
    assert head["cell"] == list(CELL)
    np.testing.assert_allclose(head["origin"], GRID.origin)
    assert_stored(stored, values, head["maps"][0])


def test_view_of_the_anisotropic_part(tmp_path: Path) -> None:
    write_map(a_map(), tmp_path / "map.h5")
    run_command("view", tmp_path / "map.h5", "--anisotropic")
    head, (stored,) = read(tmp_path / "map.html")
    assert_stored(stored, split_isotropic(a_map())[1].volume, head["maps"][0])


def test_view_against_a_map_of_the_same_name(tmp_path: Path) -> None:
    for folder in ("model", "data"):
        (tmp_path / folder).mkdir()
        write_map(a_map(), tmp_path / folder / "map.npz")
    page = tmp_path / "both.html"
    first, second = tmp_path / "model" / "map.npz", tmp_path / "data" / "map.npz"
    assert run_command("view", first, "--against", second, "-o", page, "--quiet") == ""
    head, _ = read(page)
    assert [entry["name"] for entry in head["maps"]] == ["model/map.npz", "data/map.npz"]
    assert head["title"] == "model/map.npz against data/map.npz"

"""Where things are in a picture: planes, oblique cells, offset grids, missing voxels, circles."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from onephonon import DiffuseMap, InputError, MapGrid, UnitCell
from onephonon.viz.plot import Plane, central_plane, cut, draw_slices, parse_plane

TRICLINIC = (20.0, 25.0, 30.0, 75.0, 100.0, 118.0)
CUBE = (10.0, 10.0, 10.0, 90.0, 90.0, 90.0)
OFFSET = MapGrid((-1.25, 0.4, -2.0), (0.25, 0.2, 0.5), (13, 11, 9))


def q_of(hkl: object, cell: tuple[float, ...] = TRICLINIC) -> np.ndarray:
    """Scattering vector by the physics' own cell."""
    return 2 * np.pi * np.asarray(hkl) @ UnitCell.from_parameters(cell).inverse.numpy()


def on_paper(plane: Plane, hkl: object, cell: tuple[float, ...] = TRICLINIC) -> np.ndarray:
    """Cartesian place of a point of a plane: along its first direction, and at right angles."""
    right = q_of(plane.along, cell)
    right /= np.linalg.norm(right)
    up = q_of(plane.up, cell)
    up -= (up @ right) * right
    up /= np.linalg.norm(up)
    q = q_of(hkl, cell)
    return np.array([q @ right, q @ up])


def rendered(figure: Figure, dpi: int = 100) -> np.ndarray:
    figure.set_layout_engine("none")  # slow, and of no matter here
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def pixel_of(panel: Axes, place: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    """Row and column of a place in data coordinates."""
    x, y = panel.transData.transform(place)
    return int(picture.shape[0] - y), int(x)


def bright(voxel: tuple[int, int, int], grid: MapGrid = OFFSET, cell=TRICLINIC) -> DiffuseMap:  # type: ignore[no-untyped-def]
    volume = np.ones(grid.shape)
    volume[voxel] = 2.0
    return DiffuseMap.on_grid(volume, grid, cell)


@pytest.mark.parametrize("cell", [TRICLINIC, (20.0, 25.0, 30.0, 90.0, 110.0, 90.0)])
@pytest.mark.parametrize("name", ["hk-1", "h1l", "1kl", "hhl", "1,1,-1:1,0,1:0,1,-1", "cartesian"])
def test_a_bright_voxel_is_where_its_q_is(name: str, cell: tuple[float, ...]) -> None:
    # hkl (1, 1, -1) is a voxel of the grid, whose origin is at no multiple of its steps.
    voxel, hkl = (9, 3, 2), np.array([1.0, 1.0, -1.0])
    np.testing.assert_allclose(OFFSET.hkl.reshape(*OFFSET.shape, 3)[voxel], hkl, atol=1e-12)
    plane = (
        Plane.cartesian(q_of(hkl, cell), (1, 2, 0.5), (0, 1, 1), cell)
        if name == "cartesian"
        else Plane.named(name)
    )
    figure = draw_slices(bright(voxel, cell=cell), [plane], limits=(1.0, 2.0), scale="linear")
    picture = rendered(figure)
    panel = figure.axes[0]
    # Brightest yellow of the panel; the colour bar is elsewhere.
    low, high = panel.get_window_extent().get_points()
    rows = slice(int(picture.shape[0] - high[1]) + 2, int(picture.shape[0] - low[1]) - 2)
    columns = slice(int(low[0]) + 2, int(high[0]) - 2)
    yellow = np.abs(picture - np.array([253, 231, 37])).sum(axis=-1) < 30
    found = np.argwhere(yellow[rows, columns]) + np.array([rows.start, columns.start])
    assert len(found) > 4
    expected = pixel_of(panel, on_paper(plane, hkl, cell), picture)
    # The voxel's middle is its centre of brightness, to two dots of pictures of several hundred.
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=2.0)


@pytest.mark.parametrize("name", ["hk0", "hk1", "h-1l", "-1kl", "hhl", "0.5,0,0:1,2,0:0,1,1"])
def test_paper_keeps_lengths(name: str) -> None:
    # |q|² is that on paper from the centre of the circles, and the plane's height.
    plane = Plane.named(name)
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    paper = plane.shear(TRICLINIC) @ np.stack([x, y, np.ones(50)])
    length = np.linalg.norm(q_of(plane.hkl(x, y)), axis=1)
    on_sphere = np.sqrt(paper[0] ** 2 + paper[1] ** 2 + plane.height(TRICLINIC) ** 2)
    np.testing.assert_allclose(on_sphere, length, rtol=1e-12)


def test_ticks_count_the_indices_at_the_edges() -> None:
    figure = draw_slices(bright((9, 3, 2)), ["hk-1"])
    rendered(figure)
    panel, plane = figure.axes[0], Plane.named("hk-1")
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("h", "k")
    matrix = np.linalg.inv(plane.shear(TRICLINIC))
    bottom = panel.get_ylim()[0]
    for tick, label in zip(panel.get_xticks(), panel.get_xticklabels(), strict=True):
        h, _, _ = matrix @ (tick, bottom, 1)
        assert h == pytest.approx(float(label.get_text().replace("−", "-")), abs=1e-9)
    for tick, label in zip(panel.get_yticks(), panel.get_yticklabels(), strict=True):
        _, k, _ = matrix @ (0, tick, 1)
        assert k == pytest.approx(float(label.get_text().replace("−", "-")), abs=1e-9)
    assert len(panel.get_xticks()) > 2
    # The scale above is Cartesian: it reads the data coordinates themselves.
    top = panel.child_axes[0]
    assert top.get_xlim() == panel.get_xlim()


def test_missing_voxels_are_grey_and_the_rest_is_not() -> None:
    volume = np.ones((9, 9, 9)) + np.arange(9)
    volume[6, 2, 4] = np.nan
    diffuse = DiffuseMap.on_grid(volume, MapGrid((-4, -4, -4), (1, 1, 1), (9, 9, 9)), TRICLINIC)
    figure = draw_slices(diffuse, ["hk0"])
    picture = rendered(figure)
    panel, plane = figure.axes[0], Plane.named("hk0")

    def colour(h: float, k: float) -> np.ndarray:
        row, column = pixel_of(panel, on_paper(plane, (h, k, 0)), picture)
        # The hatching's lines are darker than the ground between them.
        return picture[row - 3 : row + 4, column - 3 : column + 4].reshape(-1, 3)

    grey = colour(2, -2)
    assert (np.ptp(grey, axis=1) == 0).all()  # no hue
    assert 150 < grey.min() < grey.max() < 230  # neither white nor black; two tones, hatched
    assert (np.ptp(colour(2, -3), axis=1) > 20).all()
    text = figure.legends[0].get_texts()[0].get_text()
    assert text.startswith("no value")


def test_circles_have_the_radius_of_their_resolution() -> None:
    grid = MapGrid.from_sampling(*[(-6, 6, 2)] * 3)
    figure = draw_slices(DiffuseMap.on_grid(np.ones(grid.shape), grid, TRICLINIC), ["hk1"])
    panel = figure.axes[0]
    circles = [p for p in panel.patches if isinstance(p, Circle)]
    labels = [float(t.get_text().split()[0]) for t in panel.texts if t.get_text().endswith("Å")]
    assert len(labels) == len(circles) >= 2
    normal = np.cross(q_of((1, 0, 0)), q_of((0, 1, 0)))
    height = q_of((0, 0, 1)) @ normal / np.linalg.norm(normal)
    for circle, d in zip(circles, labels, strict=True):
        assert circle.center == (0, 0)
        radius = np.sqrt((2 * np.pi / d) ** 2 - height**2)
        assert circle.radius == pytest.approx(radius, rel=1e-12)


def test_all_but_right_angles_have_one_frame() -> None:
    # A monoclinic angle of 90.5 degrees: the slant is a few dots, and would double the edges.
    grid = MapGrid.from_sampling(*[(-6, 6, 2)] * 3)
    cell = (20.0, 25.0, 30.0, 90.0, 90.5, 90.0)
    figure = draw_slices(DiffuseMap.on_grid(np.ones(grid.shape), grid, cell), ["h0l"])
    left, right = figure.axes[0].get_xlim()
    plane = Plane.named("h0l")
    for h, side in ((-6.25, left), (6.25, right)):
        edge = [on_paper(plane, (h, 0, l), cell)[0] for l in (-6.25, 6.25)]  # noqa: E741
        assert side == pytest.approx(min(edge, key=abs), rel=1e-12)


def test_layers_are_not_copied() -> None:
    grid = MapGrid.from_sampling((-1, 1, 2), (-1, 1, 3), (-1, 1, 4))
    diffuse = DiffuseMap.on_grid(np.random.default_rng(0).random(grid.shape), grid, CUBE)
    for name in ("hk0.25", "h0l", "0kl"):
        section = cut(diffuse, Plane.named(name))
        assert np.shares_memory(section.values, diffuse.intensity)
        assert not section.interpolated
    between = cut(diffuse, Plane.named("hk0.375"))
    assert between.interpolated
    np.testing.assert_allclose(between.values, diffuse.volume[:, :, 5:7].mean(axis=2).T)


def test_planes_between_voxels_are_interpolated_and_holes_keep_their_size() -> None:
    grid = MapGrid.from_sampling(*[(-2, 2, 2)] * 3)
    volume = (grid.hkl @ (1.0, 2.0, 3.0)).reshape(grid.shape)
    whole = DiffuseMap.on_grid(volume, grid, TRICLINIC)
    plane = Plane.through((0.1, 0.2, 0.3), (1, 1, 0), (0, 0.5, 1))
    section = cut(whole, plane)
    hkl = plane.hkl(section.x[None, :], section.y[:, None])
    known = np.isfinite(section.values)
    inside = (np.abs(hkl) <= 2).all(axis=-1)
    # A linear function is interpolated exactly; the rim of half a voxel is the voxels' own.
    np.testing.assert_allclose(section.values[inside], (hkl @ (1, 2, 3))[inside], atol=1e-12)
    np.testing.assert_array_equal(known, (np.abs(hkl) <= 2.25).all(axis=-1))
    holed = volume.copy()
    holed[4, 4, 4] = np.nan
    section = cut(DiffuseMap.on_grid(holed, grid, TRICLINIC), plane)
    nearest = (np.abs(hkl) < 0.25).all(axis=-1)
    np.testing.assert_array_equal(np.isnan(section.values) & known, nearest & known)
    assert nearest.sum() > 0


@pytest.mark.parametrize(
    ("name", "origin", "along", "up", "title"),
    [
        ("hk0", (0, 0, 0), (1, 0, 0), (0, 1, 0), "l = 0"),
        ("h0l", (0, 0, 0), (1, 0, 0), (0, 0, 1), "k = 0"),
        ("0kl", (0, 0, 0), (0, 1, 0), (0, 0, 1), "h = 0"),
        ("hk0.5", (0, 0, 0.5), (1, 0, 0), (0, 1, 0), "l = 0.5"),
        ("hk1/3", (0, 0, 1 / 3), (1, 0, 0), (0, 1, 0), "l = 1/3"),
        ("h-2l", (0, -2, 0), (1, 0, 0), (0, 0, 1), "k = −2"),
        ("½ k l", (0.5, 0, 0), (0, 1, 0), (0, 0, 1), "h = 0.5"),
        ("12kl", (12, 0, 0), (0, 1, 0), (0, 0, 1), "h = 12"),
        ("hhl", (0, 0, 0), (1, 1, 0), (0, 0, 1), "(h h l)"),
        ("h-hl", (0, 0, 0), (1, -1, 0), (0, 0, 1), "(h −h l)"),
        ("hkk", (0, 0, 0), (1, 0, 0), (0, 1, 1), "(h k k)"),
        ("0,0,1:1,1,0:0,1,-2", (0, 0, 1), (1, 1, 0), (0, 1, -2), "(x, x + y, −2y + 1)"),
    ],
)
def test_names_of_planes(name: str, origin: object, along: object, up: object, title: str) -> None:
    plane = Plane.named(name)
    assert (plane.origin, plane.along, plane.up, plane.title) == (origin, along, up, title)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hkl", "two variable indices"),
        ("h00", "is invalid"),
        ("xk0", "is invalid"),
        ("hk", "is invalid"),
        ("hk1/0", "1/0"),
        ("0,0,0:1,0,0", "is invalid"),
        ("0,0,0:1,0,0:2,0,0", "do not span a plane"),
        ("0,0,nan:1,0,0:0,1,0", "finite"),
        ("q=0,0,0:1,0,0:2,0,0", "do not span a plane"),
    ],
)
def test_what_is_no_plane_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_plane(name, CUBE)


def test_cartesian_planes_are_orthogonal_and_pass_through_their_origin() -> None:
    plane = parse_plane("q=0.1,0.2,0.3:1,1,0:0,1,1", TRICLINIC)
    np.testing.assert_allclose(q_of(plane.origin), (0.1, 0.2, 0.3), atol=1e-12)
    e, f = q_of(plane.along), q_of(plane.up)
    np.testing.assert_allclose((e @ e, f @ f, e @ f), (1, 1, 0), atol=1e-12)
    np.testing.assert_allclose(e, np.array([1, 1, 0]) / np.sqrt(2), atol=1e-12)
    assert f @ (0, 1, 1) > 0
    assert abs(np.cross((1, 1, 0), (0, 1, 1)) @ f) < 1e-12
    assert plane.note.startswith("u along (0.707, 0.707, 0), v along (−0.408, 0.408, 0.816)")
    with pytest.raises(InputError, match="needs a cell"):
        parse_plane("q=0,0,0:1,0,0:0,1,0")


def test_planes_that_miss_the_map_are_named() -> None:
    diffuse = bright((0, 0, 0))
    with pytest.raises(InputError, match="l = 7 misses the map, whose l runs from -2 to 2"):
        cut(diffuse, Plane.named("hk7"))
    with pytest.raises(InputError, match="misses the map"):
        cut(diffuse, Plane.named("9,0,0:1,1,0:0,0,1"))
    with pytest.raises(InputError, match="grid"):
        draw_slices(DiffuseMap.at_points(np.ones((2, 3)), np.ones(2)), ["hk0"])


def bragg_masked(n: int, low: float = -3) -> DiffuseMap:
    grid = MapGrid.from_sampling(*[(low, 3, n)] * 3)
    volume = np.ones(grid.shape)
    volume[(grid.hkl % 1 == 0).all(axis=1).reshape(grid.shape)] = np.nan
    return DiffuseMap.on_grid(volume, grid, CUBE)


@pytest.mark.parametrize(("n", "chosen"), [(2, 0.5), (3, 1 / 3), (4, 0.5), (6, 0)])
def test_central_planes_are_not_sieves(n: int, chosen: float) -> None:
    diffuse = bragg_masked(n)
    assert central_plane(diffuse, 2).fixed == (2, pytest.approx(chosen))
    figure = draw_slices(diffuse)
    captions = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("between Bragg layers" in line for line in captions) == (chosen != 0)


def test_central_planes_of_measured_and_of_shifted_maps() -> None:
    whole = bragg_masked(2)
    filled = DiffuseMap.on_grid(np.ones(whole.volume.shape), whole.grid, CUBE)  # type: ignore[arg-type]
    assert central_plane(filled, 0).fixed == (0, 0)
    # A missing wedge is no sieve.
    volume = np.ones(whole.volume.shape)
    volume[:5, :, 6] = np.nan
    wedge = DiffuseMap.on_grid(volume, whole.grid, CUBE)  # type: ignore[arg-type]
    assert central_plane(wedge, 2).fixed == (2, 0)
    assert central_plane(bragg_masked(9, low=1), 1).fixed == (1, 2)

"""Two maps shown together: `view` and `visualize` index and refuse them as `compare` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import run_command
from onephonon import DiffuseMap, InputError, MapGrid, write_map
from onephonon.maps import reindex, symmetrize
from pages import read

CELL = (31.0, 31.0, 40.0, 90.0, 90.0, 90.0)
GRID = MapGrid((-8, -8, -8), (1, 1, 1), (17, 17, 17))


@pytest.fixture(scope="module")
def data() -> DiffuseMap:
    """Speckles with the symmetry 4/m, in a lattice of 4/mmm."""
    from scipy import ndimage

    noise = np.random.default_rng(1).normal(size=GRID.shape)
    field = 10 + ndimage.gaussian_filter(noise, 1.0, mode="wrap")
    return symmetrize(DiffuseMap.on_grid(field, GRID, CELL, spacegroup="P 41")).map


@pytest.fixture(scope="module")
def files(data: DiffuseMap, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pairs")
    long = DiffuseMap.on_grid(data.intensity, GRID, (31.0, 31.0, 44.0, 90.0, 90.0, 90.0))
    paths = {name: folder / f"{name}.h5" for name in ("model", "data", "long")}
    write_map(reindex(data, "k,h,-l"), paths["model"])
    write_map(data, paths["data"])
    write_map(long, paths["long"])
    write_map(data, folder / "bare.lat")
    return paths | {"bare": folder / "bare.lat"}


def test_view_shows_the_first_map_in_the_indices_of_the_data(
    files: dict[str, Path], data: DiffuseMap, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    output = run_command("view", files["model"], "--against", files["data"], "-o", page)
    assert output.startswith("indexing: k,h,-l instead of the data's own indices, clearly the best")
    head, (model, shown) = read(page)
    # The same map under other indices: voxel by voxel, to the 16 bits of the page.
    np.testing.assert_allclose(model, data.intensity, rtol=1e-3)
    np.testing.assert_allclose(shown, data.intensity, rtol=1e-3)
    assert [entry["name"] for entry in head["maps"]] == ["model.h5 at its k,h,-l", "data.h5"]


def test_a_request_for_the_indices_of_the_files_is_kept(
    files: dict[str, Path], data: DiffuseMap, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    arguments = ("view", files["model"], "--against", files["data"], "-o", page)
    assert run_command(*arguments, "--reindex", "none").startswith("wrote")
    np.testing.assert_allclose(read(page)[1][0], reindex(data, "k,h,-l").intensity, rtol=1e-3)


def test_visualize_draws_no_difference_between_equal_maps(
    files: dict[str, Path], tmp_path: Path
) -> None:
    def differences(*options: str) -> float:
        picture = tmp_path / "picture.png"
        run_command("visualize", files["model"], files["data"], "-o", picture, "--force", *options)
        pixels = np.asarray(Image.open(picture).convert("RGB"), dtype=float)
        # The panel of the difference, without its frame and numbers.
        height, width = pixels.shape[:2]
        inner = pixels[int(0.3 * height) : int(0.5 * height), int(0.74 * width) : int(0.92 * width)]
        return float(inner.std(axis=(0, 1)).max())

    # Nothing but the colour of zero and two circles, against speckle in saturated colours.
    assert differences() < 0.5 * differences("--reindex", "none")


@pytest.mark.parametrize("command", ["view", "visualize"])
def test_cells_of_other_crystals_are_refused_as_by_compare(
    files: dict[str, Path], tmp_path: Path, command: str
) -> None:
    output = tmp_path / ("out.html" if command == "view" else "out.png")
    with pytest.raises(InputError) as refused:
        run_command(command, files["model"], "--against", files["long"], "-o", output)
    with pytest.raises(InputError, match="is not the model's") as compared:
        run_command("compare", files["model"], files["long"])
    assert str(refused.value) == str(compared.value)
    assert not output.exists()


def test_data_without_a_cell_have_that_of_the_first_map(
    files: dict[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    output = run_command("view", files["model"], "--against", files["bare"], "-o", page)
    assert "k,h,-l instead" in output


@pytest.mark.parametrize("command", ["view", "visualize"])
def test_an_indexing_of_a_single_map_is_refused(files: dict[str, Path], command: str) -> None:
    with pytest.raises(InputError, match="--reindex best relates the indices of two maps"):
        run_command(command, files["model"], "--reindex", "best")

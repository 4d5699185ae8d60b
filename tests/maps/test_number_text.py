"""Text of any program: encodings, comments, separators, exponents, SHELX's columns, lists of q."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest

from foreign_maps import CELL
from onephonon import FileError, MapFileError, read_map
from onephonon.maps.io import QListWarning, read_q_vectors

Q = [[0.1, 0.2, 0.3], [-0.4, 1.5, 0.0]]
TEXT = "0.1 0.2 0.3\n-0.4 1.5 0\n"


def text(folder: Path, content: str | bytes, name: str = "q.txt", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]
)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = text(tmp_path, f"# q in 1/Å\n{TEXT}", "q.txt", encoding)
    assert read_q_vectors(path)[0].tolist() == Q


@pytest.mark.parametrize(
    "content",
    [
        "0.1,0.2,0.3\n-0.4,1.5,0\n",
        "0.1, 0.2, 0.3,\n-0.4 , 1.5 , 0,\n",
        "0.1\t0.2\t0.3\r\n-0.4\t1.5\t0\r\n",
        "0.1 0.2 0.3\r-0.4 1.5 0\r",
        "! of XDS\n0.1 0.2 0.3 # first\n\n% of TeX\n// of C\n-4D-1 +1.5d0 0.\n",
        "qx qy qz\n.1 2e-1 3E-01\n-0.4 1.5 0",
        "\n\n  0.1 0.2 0.3  \n-0.4 1.5 0\n\n",
    ],
)
def test_ways_to_write_a_table(tmp_path: Path, content: str) -> None:
    assert read_q_vectors(text(tmp_path, content))[0].tolist() == Q


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,1 0,2 0,3\n", "line 1, '0,1 0,2 0,3', mixes commas and blanks"),
        ("0.1 0.2 0.3\n0.1 0.2 0,3\n", "line 2.* mixes"),
        ("0.1,,0.3\n", "mixes"),
        ("0.1;0.2;0.3\n", "line 1 has '0.1;0.2;0.3', no number"),
        ("0.1 0.2 ******\n", "line 1 has '[*]*', a number too wide"),
        ("0.1 0.2 0.3\n0.1 x 0.3\n", "line 2 has 'x'"),
        ("0.1 0.2 12%\n", "has '12%'"),
        ("0.1 0.2 1_000\n", "has '1_000'"),
        ("0.1 0.2 0x10\n", "has '0x10'"),
        ("0.1 0.2 0.3\nend of file\n", "line 2 has 'end'"),
        ("# only\n! comments\n", "no numbers, only 2 comments"),
        (b"\0\1\2\3" * 100, "not a text, but binary"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text, but binary"),
        ("0.1 0.2 inf\n", r"q-vector 0 is \[0.1, 0.2, inf\]"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_q_vectors(text(tmp_path, content))


def test_a_decimal_comma_is_no_sigma(tmp_path: Path) -> None:
    path = text(tmp_path, "0 0 1 12,5\n0 0 2 13,5\n", "map.txt")
    with pytest.raises(MapFileError, match=r"line 1.*decimals with a point"):
        read_map(path, cell=CELL)


def test_headings_of_tables(tmp_path: Path) -> None:
    path = text(tmp_path, "H,K,L,I,SIGI\n0,0,1,12.5,2\n0,0,2,13.5,3\n", "map.txt")
    diffuse = read_map(path, cell=CELL)
    assert diffuse.intensity.ravel().tolist() == [12.5, 13.5]
    assert diffuse.sigma is not None
    assert diffuse.sigma.ravel().tolist() == [2, 3]
    text(tmp_path, "h k l SIGI I\n0 0 1 2 12.5\n0 0 2 3 13.5\n", "map.txt")
    assert read_map(path, cell=CELL).intensity.ravel().tolist() == [12.5, 13.5]


# SHELX


def shelx_line(h: int, k: int, l: int, i: float, s: float, batch: int | None = None) -> str:  # noqa: E741
    return f"{h:4d}{k:4d}{l:4d}{i:8.2f}{s:8.2f}" + ("" if batch is None else f"{batch:4d}")


@pytest.mark.parametrize("batch", [None, 1])
def test_columns_of_shelx_may_touch(tmp_path: Path, batch: int | None) -> None:
    rows = [
        (h, k, l, 70000.0 + 100 * h + 10 * k + l, 1000.25)
        for h, k, l in itertools.product((-1, 0), (-3, -2), (-104, -103))  # noqa: E741
    ]
    content = "".join(shelx_line(*row, batch) + "\n" for row in rows)
    assert "-10469" in content  # the columns do touch
    for end in ("", shelx_line(0, 0, 0, 0, 0) + "\nTITL after the end\nCELL 0.7 1 2 3\n"):
        diffuse = read_map(text(tmp_path, content + end, "map.hkl"), cell=CELL)
        assert diffuse.map_shape == (2, 2, 2)
        np.testing.assert_allclose(diffuse.hkl, [row[:3] for row in rows], atol=1e-12)
        assert diffuse.intensity.ravel().tolist() == [row[3] for row in rows]
        assert diffuse.sigma is not None
        assert set(diffuse.sigma.ravel()) == {1000.25}
        assert ("2 lines after the line 0 0 0" in diffuse.report()) == bool(end)


def test_shelx_lines_out_of_their_columns_are_refused(tmp_path: Path) -> None:
    lines = [shelx_line(0, 0, l, 10.0, 1.0) for l in range(1, 80)]  # noqa: E741
    lines[60] = shelx_line(0, 0, 61, 100000.25, 1.0)  # nine characters
    with pytest.raises(MapFileError, match=r"line 61, .*100000\.25.* is not in SHELX's columns"):
        read_map(text(tmp_path, "\n".join(lines), "map.hkl"), cell=CELL)


def test_a_last_row_of_zeros_ends_a_list(tmp_path: Path) -> None:
    rows = "1 0 0 10.5 1\n2 0 0 11.5 1\n"
    diffuse = read_map(text(tmp_path, rows + "0 0 0 0 0\n", "map.txt"), cell=CELL)
    assert diffuse.intensity.ravel().tolist() == [10.5, 11.5]
    assert "ignored: a last row 0 0 0 0 0" in diffuse.report()
    # Elsewhere it is a voxel.
    diffuse = read_map(text(tmp_path, "0 0 0 0 0\n" + rows, "map.txt"), cell=CELL)
    assert diffuse.intensity.ravel().tolist() == [0, 10.5, 11.5]


# lists of q


@pytest.mark.parametrize("content", ["1 0 0\n", "1 0 0\n2 -3 4\n", "1.0, 2.0, 0\n"])
def test_whole_numbers_are_asked_about(tmp_path: Path, content: str) -> None:
    with pytest.warns(QListWarning, match=r"all numbers are whole.*Miller indices, give --h"):
        read_q_vectors(text(tmp_path, content))


def test_q_beyond_any_measurement_is_asked_about(tmp_path: Path) -> None:
    with pytest.warns(QListWarning, match=r"q reaches 31\.5 1/Å, that is d = 0\.2 Å"):
        read_q_vectors(text(tmp_path, "0.5 0 31.5\n"))


def test_plausible_q_are_not_asked_about(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_q_vectors(text(tmp_path, "0 0 0\n"))
        read_q_vectors(text(tmp_path, "0.5 1 2\n1 2 3\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("h k l\n1 2 3\n", "are 'h k l', Miller indices"),
        ("# H, K, L\n1 2 3\n", "are 'H, K, L', Miller indices"),
        ("# q in 1/nm\n1.5 2 3\n", "divide by 10"),
        ("# qx qy qz (nm^-1)\n1.5 2 3\n", "divide by 10"),
    ],
)
def test_comments_that_say_something_else(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_q_vectors(text(tmp_path, content))


def test_hkl_in_an_archive_are_no_q(tmp_path: Path) -> None:
    np.savez(tmp_path / "q.npz", hkl=np.ones((3, 3)))
    with pytest.raises(FileError, match="it holds hkl, not q_vectors; give --h"):
        read_q_vectors(tmp_path / "q.npz")

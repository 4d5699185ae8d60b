"""The pixels of a flat detector in a rotation series, as points on the Ewald sphere.

The laboratory frame is right-handed, fixed, and centred on the crystal; its orientation is
arbitrary, by default with the beam along +z and the spindle along +x. Lengths in it are mm. q is
defined in another frame: the Cartesian frame of ``cell.matrix``, fixed in the crystal. A rotation U
relates the two at spindle angle 0, ``x_lab = U @ x_crystal``; at the angle phi
``x_lab = R(phi) @ U @ x_crystal``, with R a rotation about the spindle axis by the right-hand
rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import UnitCell

from .base import Number, QSample, Vector, check_count, check_number, check_positive, check_vector
from .bragg import near_bragg

#: Tolerance of unit lengths, of orthogonality, and of rotation matrices: image headers have four
#: decimals or more.
ROTATION_TOLERANCE = 1e-4

#: Relative tolerance between the axes of an indexed crystal and those of the model's cell: a few
#: times the effect of cooling or of another batch of crystals. Another choice of axes or a wrong
#: unit makes a larger difference.
CELL_TOLERANCE = 0.03


@dataclass(frozen=True)
class Detector:
    """A flat detector and the incident beam.

    The centre of the pixel (fast i, slow j), counted from 0, is at
    ``origin + i * pixel_size[0] * fast + j * pixel_size[1] * slow``.

    Parameters
    ----------
    origin : array, shape (3,)
        The centre of the pixel (0, 0), in mm from the crystal.
    fast, slow : array, shape (3,)
        Unit vectors along which the fast and the slow pixel index increase, orthogonal.
    pixel_size : array, shape (2,)
        Along fast and slow, mm.
    n_pixels : (int, int)
        Number of pixels along the fast and slow axes.
    wavelength : float or Tensor
        In Å.
    beam : array, shape (3,)
        Unit vector of the direction of the incident beam.
    """

    origin: Vector
    fast: Vector
    slow: Vector
    pixel_size: Vector
    n_pixels: tuple[int, int]
    wavelength: Number
    beam: Vector = (0.0, 0.0, 1.0)

    @classmethod
    def square_on(
        cls,
        distance: Number,
        beam_centre: Vector,
        pixel_size: Vector,
        n_pixels: tuple[int, int],
        wavelength: Number,
    ) -> Detector:
        """Detector perpendicular to the beam: beam along +z, fast along +x, slow along +y.

        Parameters
        ----------
        distance : float or Tensor
            From crystal to detector, mm.
        beam_centre : array, shape (2,)
            Position of the beam, in pixels along fast and slow. Whole numbers are centres of
            pixels, counted from 0: subtract 1/2 from a number counted from the detector's corner.
        pixel_size, n_pixels, wavelength
            As for the class.

        Raises
        ------
        InputError
            If the distance is not positive.
        """
        check_positive("distance", distance, torch.zeros((), dtype=torch.float64), "mm")
        for name, pair in (("beam_centre", beam_centre), ("pixel_size", pixel_size)):
            if len(pair) != 2:
                raise InputError(f"{name} {pair}: give two numbers, along fast and slow")
        x, y = (-c * p for c, p in zip(beam_centre, pixel_size, strict=True))
        fast, slow = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
        return cls((x, y, distance), fast, slow, pixel_size, n_pixels, wavelength)

    def binned(self, n: int) -> Detector:
        """Return the detector with n x n pixels combined; incomplete bins are dropped."""
        n = check_count("n", n)
        like = torch.zeros((), dtype=torch.float64)
        size = check_vector("pixel_size", self.pixel_size, like, 2)
        fast, slow = check_vector("fast", self.fast, like), check_vector("slow", self.slow, like)
        shift = (n - 1) / 2 * (size[0] * fast + size[1] * slow)
        return Detector(
            check_vector("origin", self.origin, like) + shift,
            fast,
            slow,
            size * n,
            (self.n_pixels[0] // n, self.n_pixels[1] // n),
            self.wavelength,
            self.beam,
        )

    def q_lab(self, like: Tensor) -> Tensor:
        """Scattering vectors of the pixels in the laboratory frame, 1/Å, shape (n_slow, n_fast, 3).

        ``2*pi/wavelength (s1 - s0)``, s1 the unit vector from the crystal to the pixel and s0
        along the beam; in the dtype and on the device of `like`, differentiable in every number
        of the detector.

        Raises
        ------
        InputError
            If a size or the wavelength is not positive, or the directions are not valid.
        """
        n_fast, n_slow = (check_count("n_pixels", n) for n in self.n_pixels)
        wavelength = check_positive("wavelength", self.wavelength, like, "Å")
        size = check_vector("pixel_size", self.pixel_size, like, 2)
        if not bool((size > 0).all()):
            raise InputError(f"pixel_size {size.tolist()} mm: give two numbers above zero")
        fast = _direction("fast", self.fast, like)
        slow = _direction("slow", self.slow, like)
        if abs(float(fast.detach() @ slow.detach())) > ROTATION_TOLERANCE:
            raise InputError(
                f"fast {fast.tolist()} and slow {slow.tolist()} are not orthogonal; "
                "correct the detector's axes"
            )
        i, j = (torch.arange(n, dtype=like.dtype, device=like.device) for n in (n_fast, n_slow))
        across = (i * size[0])[None, :, None] * fast + (j * size[1])[:, None, None] * slow
        pixels = check_vector("origin", self.origin, like) + across
        lengths = torch.linalg.vector_norm(pixels, dim=-1, keepdim=True)
        if not bool((lengths > 0).all()):
            raise InputError(
                "a pixel is at the position of the crystal; correct the detector's origin"
            )
        return TWO_PI / wavelength * (pixels / lengths - _direction("beam", self.beam, like))


@dataclass(frozen=True)
class Scan:
    """Rotation series: frame i spans ``start + i * width`` to ``start + (i + 1) * width``.

    Each frame is computed at its central angle. The default is one still image at angle 0.

    Parameters
    ----------
    n_frames : int
    width : float or Tensor
        Width of a frame, degrees.
    start : float or Tensor
        Spindle angle at the start of the first frame, degrees.
    axis : array, shape (3,)
        Unit vector of the spindle in the laboratory frame; positive angles rotate the crystal
        about it by the right-hand rule.
    """

    n_frames: int = 1
    width: Number = 0.0
    start: Number = 0.0
    axis: Vector = (1.0, 0.0, 0.0)

    def angles(self, like: Tensor) -> Tensor:
        """Central spindle angle of each frame, degrees, shape (n_frames,)."""
        n = check_count("n_frames", self.n_frames)
        frame = torch.arange(n, dtype=like.dtype, device=like.device) + 0.5
        return check_number("start", self.start, like) + frame * check_number(
            "width", self.width, like
        )

    def rotations(self, like: Tensor) -> Tensor:
        """Rotation R of each frame, from spindle angle 0, (n_frames, 3, 3)."""
        axis = _direction("axis", self.axis, like)
        angle = torch.deg2rad(self.angles(like))[:, None, None]
        eye = torch.eye(3, dtype=like.dtype, device=like.device)
        cross = torch.linalg.cross(axis.expand(3, 3), eye).T  # cross @ x is axis x x
        along = torch.outer(axis, axis)
        return torch.cos(angle) * (eye - along) + torch.sin(angle) * cross + along


@dataclass(frozen=True)
class DetectorSample(QSample):
    """Pixels of a stack of images; `shape` is (n_frames, n_slow, n_fast).

    Parameters
    ----------
    angle : Tensor, shape (n_frames,)
        Spindle angle of each frame, degrees.
    q_lab : Tensor, shape (n_slow, n_fast, 3)
        Scattering vectors in the laboratory frame, 1/Å; the same for every frame.
    """

    angle: Tensor
    q_lab: Tensor


def detector(
    cell: UnitCell,
    geometry: Detector,
    scan: Scan | None = None,
    *,
    rotation: Tensor | Sequence[Sequence[float]] | None = None,
    axes: Tensor | Sequence[Sequence[float]] | None = None,
    bragg_radius: float | None = None,
) -> DetectorSample:
    """Sample reciprocal space at the pixels of a rotation series.

    The crystal's orientation at spindle angle 0 is given as a rotation or as its axes, not both;
    by default its Cartesian frame is the laboratory frame.

    Parameters
    ----------
    cell : UnitCell
    geometry : Detector
    scan : Scan, optional
        By default one still image.
    rotation : array, shape (3, 3), optional
        U, ``x_lab = U @ x_crystal`` with x_crystal in the frame of ``cell.matrix``. All q lie on
        the Ewald sphere, ``|q_lab + 2*pi/wavelength s0| = 2*pi/wavelength``.
    axes : array, shape (3, 3), optional
        Columns are the crystal's axes a, b, c in the laboratory frame, Å, as indexing programs
        give them (the transposed inverse of a UB matrix without 2*pi). They determine the Miller
        indices, and `cell` the q of these: if the cell of the crystal differs slightly from the
        model's, the pixels keep their hkl, and |q| follows the model.
    bragg_radius : float, optional
        Pixels nearer to a Bragg peak (1/Å, 2*pi included) are not valid; see `near_bragg`.

    Returns
    -------
    DetectorSample
        Differentiable in the geometry, the scan, the orientation and the cell.

    Raises
    ------
    InputError
        If the geometry is invalid, the matrix is not a rotation, or the axes do not span the
        model's cell.
    """
    scan = scan or Scan()
    like = cell.matrix
    q_lab = geometry.q_lab(like)
    rotations = scan.rotations(like)
    if axes is not None:
        if rotation is not None:
            raise InputError("rotation and axes both define the orientation; give only one of them")
        lab_axes = _check_axes(check_matrix("axes", axes, like), cell)
        hkl = _rotated_back(q_lab, rotations @ lab_axes) / TWO_PI
        q = cell.q_from_hkl(hkl)
    else:
        eye = torch.eye(3, dtype=like.dtype, device=like.device)
        U = eye if rotation is None else _check_rotation(check_matrix("rotation", rotation, like))
        q = _rotated_back(q_lab, rotations @ U)
        hkl = cell.hkl_from_q(q)
    valid = ~near_bragg(cell, q, bragg_radius)
    shape = (len(rotations), *q_lab.shape[:2])
    return DetectorSample(q, hkl, valid, shape, scan.angles(like), q_lab)


def check_matrix(name: str, value: Tensor | Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Check nine numbers; return a finite matrix with the dtype and device of `like`."""
    matrix = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if matrix.shape != (3, 3) or not bool(torch.isfinite(matrix.detach()).all()):
        raise InputError(f"{name} {matrix.tolist()} is not a 3 x 3 matrix of finite numbers")
    return matrix


def _rotated_back(q_lab: Tensor, rotations: Tensor) -> Tensor:
    """Apply the transpose of each frame's matrix to every q, frames slowest, shape (N, 3)."""
    return torch.einsum("px,fxy->fpy", q_lab.reshape(-1, 3), rotations).reshape(-1, 3)


def _direction(name: str, value: Vector, like: Tensor) -> Tensor:
    """Check a unit vector, and normalize it to remove rounding."""
    vector = check_vector(name, value, like)
    length = torch.linalg.vector_norm(vector)
    if abs(float(length.detach()) - 1.0) > ROTATION_TOLERANCE:
        raise InputError(
            f"{name} {vector.tolist()} has length {float(length.detach()):g}; give a unit vector"
        )
    return vector / length


def _check_rotation(U: Tensor) -> Tensor:
    error = (U.detach().T @ U.detach() - torch.eye(3).to(U)).abs().max()
    if float(error) > ROTATION_TOLERANCE or float(torch.linalg.det(U.detach())) < 0:
        raise InputError(
            f"rotation {U.tolist()} is not one: its columns must be orthogonal unit "
            "vectors with determinant +1; give the crystal's axes in Å as `axes` instead"
        )
    return U


def _check_axes(axes: Tensor, cell: UnitCell) -> Tensor:
    """Check that the axes are those of the cell, up to a rotation."""
    found, wanted = axes.detach(), cell.matrix.detach()
    lengths = torch.linalg.vector_norm(wanted, dim=0)
    mismatch = ((found.T @ found - wanted.T @ wanted) / torch.outer(lengths, lengths)).abs().max()
    same_hand = float(torch.linalg.det(found) * torch.linalg.det(wanted)) > 0
    # Relative differences of products of two axes are twice those of lengths.
    if float(mismatch) > 2 * CELL_TOLERANCE or not same_hand:
        reason = "have the opposite handedness" if not same_hand else "do not match"
        raise InputError(
            f"axes span the cell {UnitCell(found)} and {reason}; the model's is "
            f"{cell}. Give a, b, c in Å as columns, in the model's choice of axes"
        )
    return axes

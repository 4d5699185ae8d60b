"""Values of HDF5 datasets as their attributes and neighbours declare them.

NeXus and netCDF say beside the numbers what they mean: which are missing, by which factor they were
packed, which are masked, and by which weights a sum must be divided. HDF5 itself knows which chunks
were never written: reading them gives zeros.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.hdf5_reading import attribute, attribute_text, load
from onephonon.crystal.remarks import Remark

from ..diffuse import Array

#: Attributes of netCDF that name a value for 'no data', and the range of valid values.
FILLS = ("_FillValue", "missing_value")
LIMITS = ("valid_min", "valid_max", "valid_range")

#: Names of factor and offset, by convention: in netCDF ``value = stored * factor + offset``, in
#: NeXus ``value = (stored + offset) * factor``.
NETCDF = ("scale_factor", "add_offset")
NEXUS = ("scaling_factor", "offset")

#: Relative tolerance of factors that are given twice: single precision.
SAME_FACTOR = 1e-6

#: Integers with no other negative value than -1 are counts, in which -1 is 'not measured', if they
#: reach at least so far.
LARGE_COUNT = 10


def values_of(path: Path, dataset: h5py.Dataset, remarks: list[Remark]) -> Array:
    """Values of a dataset: NaN where nothing was written or measured, with factor and offset.

    Parameters
    ----------
    path : path
        For messages.
    dataset : h5py.Dataset
        Of real numbers.
    remarks : list of Remark
        What was done is added.

    Returns
    -------
    ndarray
        The stored array if nothing had to be done; else floating-point numbers.

    Raises
    ------
    MapFileError
        If nothing of it was ever written, or its attributes contradict each other.
    """
    if dataset.dtype.kind == "b":
        raise MapFileError(f"{path}: {dataset.name} holds flags, true or false, not intensities")
    stored = load(dataset, path)
    name = _name(dataset)
    missing = _unwritten(path, dataset, stored, remarks)
    for mark, source in _fills(dataset):
        here = stored == mark
        if here.any():
            remarks.append(
                Remark("read", f"{_count(here)} values of {name} are {source} {mark:g}: missing")
            )
            missing = here if missing is None else missing | here
    outside = _outside(dataset, stored)
    if outside is not None and outside.any():
        remarks.append(Remark("read", f"{_count(outside)} values of {name} are not valid: missing"))
        missing = outside if missing is None else missing | outside
    uncounted = _uncounted(stored)
    if uncounted is not None:
        remarks.append(
            Remark(
                "assumed",
                f"{_count(uncounted)} values of {name} are -1, all others counts: missing",
                matters=True,
            )
        )
        missing = uncounted if missing is None else missing | uncounted
    scaling = scaling_of(path, dataset, remarks)
    if missing is None and scaling is None:
        return stored
    values = stored.astype(stored.dtype if stored.dtype.kind == "f" else np.float64)
    if scaling is not None:
        factor, offset = scaling
        values = values * values.dtype.type(factor) + values.dtype.type(offset)
    if missing is not None:
        values[missing] = np.nan
    return values


def scaling_of(
    path: Path, dataset: h5py.Dataset, remarks: list[Remark]
) -> tuple[float, float] | None:
    """Factor and offset with ``value = stored * factor + offset``; None if there are none.

    Raises
    ------
    MapFileError
        If they are given twice and differently.
    """
    group, name = dataset.parent, _name(dataset)
    found = []
    in_netcdf = [_number(dataset, x) for x in NETCDF]
    if any(x is not None for x in in_netcdf):
        factor, offset = _or(in_netcdf[0], 1.0), _or(in_netcdf[1], 0.0)
        found.append((factor, offset))
    beside = [_scalar(group, f"{name}_{x}") for x in NEXUS]
    if all(x is None for x in beside):
        beside = [_number(dataset, x) for x in NEXUS]
    if all(x is None for x in beside) and attribute_text(group, "signal") == name:
        beside = [_scalar(group, x) for x in NEXUS]  # older files
    if any(x is not None for x in beside):
        factor, offset = _or(beside[0], 1.0), _or(beside[1], 0.0)
        found.append((factor, factor * offset))
    if not found:
        return None
    for other in found[1:]:
        if not np.allclose(found[0], other, rtol=SAME_FACTOR, atol=0):
            raise MapFileError(
                f"{path}: {dataset.name} has factor and offset {found[0]} by its attributes, but "
                f"{other} by {name}_scaling_factor and _offset; remove what is wrong"
            )
    factor, offset = found[0]
    if not (math.isfinite(factor) and math.isfinite(offset) and factor):
        raise MapFileError(f"{path}: {dataset.name} has factor {factor} and offset {offset}")
    if (factor, offset) == (1.0, 0.0):
        return None
    remarks.append(
        Remark("read", f"{name} is stored times {factor:g}{f' + {offset:g}' * bool(offset)}")
    )
    return factor, offset


def masked(
    path: Path, group: h5py.Group, signal: h5py.Dataset, remarks: list[Remark]
) -> NDArray[np.bool_] | None:
    """True where the mask of a signal hides it; None if there is no mask.

    Raises
    ------
    MapFileError
        If the mask that the signal names is missing or of another shape.
    """
    name = attribute_text(signal, "mask")
    if not name:
        beside = [x for x in (f"{_name(signal)}_mask", "mask") if _fits(group.get(x), signal)]
        if beside:
            text = f"{beside[0]}, as {_name(signal)} does not name it by its attribute mask"
            remarks.append(Remark("ignored", text, matters=True))
        return None
    mask = group.get(name)
    if not isinstance(mask, h5py.Dataset) or not _fits(mask, signal):
        raise MapFileError(
            f"{path}: {signal.name} names the mask {name}, which is missing or of another shape"
        )
    hidden = load(mask, path) != 0
    remarks.append(Remark("read", f"{_count(hidden)} voxels are masked by {name}"))
    return np.asarray(hidden)


def weights_of(group: h5py.Group, signal: h5py.Dataset) -> h5py.Dataset | None:
    """Weights by which a sum is to be divided, under nexusformat's names; None if none."""
    for name in (f"{_name(signal)}_weights", attribute_text(signal, "weights"), "weights"):
        found = group.get(name) if name else None
        if isinstance(found, h5py.Dataset) and _fits(found, signal):
            return found
    return None


def _unwritten(
    path: Path, dataset: h5py.Dataset, stored: NDArray[Any], remarks: list[Remark]
) -> NDArray[np.bool_] | None:
    """True where HDF5 has no stored value; None if all are stored, or read as NaN."""
    if dataset.is_virtual or dataset.external is not None or not dataset.size:
        return None
    fill = dataset.fillvalue
    if dataset.dtype.kind == "f" and fill is not None and np.isnan(fill):
        return None
    if not dataset.id.get_storage_size():
        raise MapFileError(f"{path}: {dataset.name} was created, but its values never written")
    if dataset.chunks is None:
        return None
    counts = [math.ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() >= math.prod(counts):
        return None
    written = np.zeros(counts, dtype=bool)
    for place in _chunk_places(dataset):
        written[tuple(at // c for at, c in zip(place, dataset.chunks, strict=True))] = True
    missing = np.ones(dataset.shape, dtype=bool)
    for index in np.argwhere(written):
        at = zip(index, dataset.chunks, strict=True)
        missing[tuple(slice(i * c, (i + 1) * c) for i, c in at)] = False
    text = f"{_count(missing)} of {dataset.size} values of {_name(dataset)} were never written"
    if dataset.dtype.kind == "f":
        # Chunks written in part hold the fill value in the rest: no measured value is exactly that.
        rest = (stored == dataset.fillvalue) & ~missing
        if rest.any():
            missing |= rest
            text += f", and {_count(rest)} are {dataset.fillvalue:g} in chunks written in part"
    remarks.append(Remark("assumed", f"{text}: missing", matters=True))
    return missing


def _chunk_places(dataset: h5py.Dataset) -> list[tuple[int, ...]]:
    """First voxels of the chunks that are stored."""
    places: list[tuple[int, ...]] = []
    if hasattr(dataset.id, "chunk_iter"):
        dataset.id.chunk_iter(lambda chunk: places.append(chunk.chunk_offset))
        return places
    infos = (dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks()))
    return [info.chunk_offset for info in infos]


def _fills(dataset: h5py.Dataset) -> list[tuple[float, str]]:
    """Values declared as missing, and by what."""
    found: dict[float, str] = {}
    for name in FILLS:
        values = attribute(dataset, name)
        if values is not None and values.dtype.kind in "fiu":
            found |= {float(x): name for x in values if not np.isnan(x)}
    layout = dataset.id.get_create_plist()
    if layout.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        fill = dataset.fillvalue
        if dataset.dtype.kind in "fiu" and fill and not np.isnan(fill):
            found.setdefault(float(fill), "the fill value")
    return list(found.items())


def _outside(dataset: h5py.Dataset, values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """True where values are outside of their valid range; None if none is declared."""
    low, high, both = (attribute(dataset, name) for name in LIMITS)
    limits = [-math.inf, math.inf]
    if both is not None and both.size == 2 and both.dtype.kind in "fiu":
        limits = both.tolist()
    for i, limit in enumerate((low, high)):
        if limit is not None and limit.size == 1 and limit.dtype.kind in "fiu":
            limits[i] = limit[0]
    if limits == [-math.inf, math.inf]:
        return None
    return np.asarray((values < limits[0]) | (values > limits[1]))


def _uncounted(values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """True where counts are -1, 'not measured'; None if the values are not such counts."""
    if values.dtype.kind != "i" or not values.size or values.min() != -1:
        return None
    return np.asarray(values == -1) if values.max() >= LARGE_COUNT else None


def _number(item: Any, name: str) -> float | None:
    """One number of an attribute; None if there is none."""
    values = attribute(item, name)
    if values is None or values.size != 1 or values.dtype.kind not in "fiu":
        return None
    return float(values[0])


def _scalar(group: h5py.Group, name: str) -> float | None:
    """One number of a dataset; None if there is none."""
    dataset = group.get(name)
    if (
        not isinstance(dataset, h5py.Dataset)
        or dataset.size != 1
        or dataset.dtype.kind not in "fiu"
    ):
        return None
    return float(np.asarray(dataset[()]).reshape(-1)[0])


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _name(dataset: h5py.Dataset) -> str:
    return str(dataset.name).rsplit("/", 1)[-1]


def _fits(dataset: Any, signal: h5py.Dataset) -> bool:
    """Whether something is a dataset of numbers or flags in the shape of the signal."""
    return (
        isinstance(dataset, h5py.Dataset)
        and dataset.shape == signal.shape
        and dataset.dtype.kind in "fiub"
    )


def _count(where: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(where))

"""Fixtures that all tests share."""

import os

# One thread a process, also in the linear algebra below NumPy: set before NumPy is imported.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from functools import cache

import pytest
import torch
from hypothesis import settings

from onephonon import read_crystal
from structures import DATA

torch.set_num_threads(1)  # the suite runs in one process per core
torch.set_warn_always(True)  # torch gives some warnings once a process; tests must all see them

# The same examples every time; how long one takes says nothing about whether it is right.
settings.register_profile("onephonon", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("onephonon")


@pytest.fixture(scope="session")
def data():
    """Folder of the structures that come with the tests."""
    return DATA


@pytest.fixture(scope="session")
def peptide(data):
    """Reader of one of these structures by its code, each read once."""

    @cache
    def read(code, **options):
        return read_crystal(data / f"{code}.pdb", **options)

    return read

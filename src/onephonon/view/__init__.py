"""A map as one HTML file: three dimensions, slices and read-out, in any browser, offline."""

from .page import VOXELS, write_page

__all__ = ["VOXELS", "write_page"]

"""A map as one HTML file: three dimensions, slices and read-out, in any browser, offline."""

from .page import VOXELS, check_page_path, write_page

__all__ = ["VOXELS", "check_page_path", "write_page"]

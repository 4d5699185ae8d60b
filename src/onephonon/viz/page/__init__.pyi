from .writing import VOXELS, check_page_path, write_page

__all__ = [
    "VOXELS",
    "check_page_path",
    "write_page",
]

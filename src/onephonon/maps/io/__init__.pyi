from .choice import check_map_path, format_name, not_kept, read_map, write_map
from .overrides import MapGuessWarning
from .qlist import read_q_vectors

__all__ = [
    "MapGuessWarning",
    "check_map_path",
    "format_name",
    "not_kept",
    "read_map",
    "read_q_vectors",
    "write_map",
]

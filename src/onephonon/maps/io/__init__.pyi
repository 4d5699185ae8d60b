from .overrides import MapGuessWarning, MapReadingWarning
from .qlist import QListWarning, read_q_vectors
from .registry import check_map_ending, format_name, not_kept, read_map, write_map

__all__ = [
    "MapGuessWarning",
    "MapReadingWarning",
    "QListWarning",
    "check_map_ending",
    "format_name",
    "not_kept",
    "read_map",
    "read_q_vectors",
    "write_map",
]

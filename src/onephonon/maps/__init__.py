"""Maps of diffuse intensity and operations on them, in NumPy.

Operations are pure functions: they return a new map whose history records what was done.
Missing voxels are NaN. Large maps are processed in slabs along their first axis.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

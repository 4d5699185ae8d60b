"""Maps of diffuse intensity and what can be done with them, in NumPy.

Operations are pure functions: they return a new map whose history tells what was done. Missing
voxels are NaN, in and out. Large maps are worked on in slabs of their first axis.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

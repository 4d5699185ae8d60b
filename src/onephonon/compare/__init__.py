"""Agreement of calculated with measured diffuse maps.

What computes a model needs torch, and is imported when it is first asked for.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

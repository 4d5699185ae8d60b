"""Pictures of diffuse maps.

Figures are matplotlib figures of the width of a journal page that do not open a window; use `save`.
Colours are perceptually uniform and readable with colour blindness; hatched grey means no value.
Maps on a grid are drawn in true reciprocal-space geometry, oblique for oblique cells.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

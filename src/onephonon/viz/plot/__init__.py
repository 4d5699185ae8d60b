"""Pictures of diffuse maps.

Figures are matplotlib's, of the width of a journal page, and are not shown in a window; use
`save`. Colours are perceptually uniform and safe for the colour-blind; hatched grey means no value.
Maps on a grid are drawn in true reciprocal-space geometry, oblique for oblique cells.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

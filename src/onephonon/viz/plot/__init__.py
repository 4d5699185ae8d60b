"""Pictures of diffuse maps.

Figures are matplotlib's, as wide as a journal's page, and open in no window: `save` writes them.
Colours are perceptually uniform and told apart with any colour vision; a hatched grey is what has
no value. Maps on a grid lie as in reciprocal space: an oblique cell is drawn obliquely.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

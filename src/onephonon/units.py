"""Physical constants and the conversions between displacement and B-factor."""

import math

#: B = EIGHT_PI_SQUARED * <u_x^2>
EIGHT_PI_SQUARED: float = 8.0 * math.pi**2

TWO_PI: float = 2.0 * math.pi

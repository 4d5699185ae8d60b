from .animation import animate, check_film_path
from .bfactors import draw_b_factors, draw_model_b_factors
from .components import Explained, draw_covariance, draw_explained, draw_explained_shells
from .curves import draw_profiles, draw_shells
from .elasticity import draw_elasticity
from .fits import (
    draw_fit_profile,
    draw_fit_shells,
    draw_series,
    draw_spectrum,
    draw_spring_profiles,
    draw_springs,
)
from .halos import draw_halo_comparison, draw_halos, strongest_halos
from .histograms import draw_histogram
from .joint import draw_joint
from .modes import draw_modes
from .overview import draw
from .patterson import draw_patterson
from .planes import Plane, parse_plane
from .saving import check_dpi, check_picture_path, save, to_svg
from .sections import Section, central_plane, cut
from .slices import draw_comparison, draw_slices, match
from .style import check_scale, choose_colours, intensity_label

__all__ = [
    "Explained",
    "Plane",
    "Section",
    "animate",
    "central_plane",
    "check_dpi",
    "check_film_path",
    "check_picture_path",
    "check_scale",
    "choose_colours",
    "cut",
    "draw",
    "draw_b_factors",
    "draw_comparison",
    "draw_covariance",
    "draw_elasticity",
    "draw_explained",
    "draw_explained_shells",
    "draw_fit_profile",
    "draw_fit_shells",
    "draw_halo_comparison",
    "draw_halos",
    "draw_histogram",
    "draw_joint",
    "draw_model_b_factors",
    "draw_modes",
    "draw_patterson",
    "draw_profiles",
    "draw_series",
    "draw_shells",
    "draw_slices",
    "draw_spectrum",
    "draw_spring_profiles",
    "draw_springs",
    "intensity_label",
    "match",
    "parse_plane",
    "save",
    "strongest_halos",
    "to_svg",
]

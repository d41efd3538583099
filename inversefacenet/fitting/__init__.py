"""Analysis by synthesis: refine a face's parameters until its rendering explains the photo.

The energy is that of Garrido et al. 2016 and Thies et al. 2016: photometric, landmark and statistical terms;
it is minimised by Levenberg-Marquardt steps whose derivatives lead through the whole image formation.
"""

from inversefacenet.fitting.energy import Energy
from inversefacenet.fitting.optimiser import Fit, fit
from inversefacenet.fitting.options import FitOptions

__all__ = ["Energy", "Fit", "FitOptions", "fit"]

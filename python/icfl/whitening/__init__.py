"""Whitening by control samples: `ControlWhitener`, and what it is made of.

Statistics of the controls (`moments`, one pass, mergeable) give a basis (`basis`), the basis and
the per-batch corrections (`batch_correction`) give an affine map (`mapping`), and the estimator
(`whitener`) applies it.
"""

from icfl.whitening.whitener import ControlWhitener

__all__ = ["ControlWhitener"]

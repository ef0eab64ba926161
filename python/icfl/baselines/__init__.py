"""What a dictionary is compared with: known methods with the face of the learners.

Each is fitted, applied, scored, saved and loaded as `icfl.ICFL` is, on rows prepared in the same
way, so that a table can hold them side by side:

- `PCA`: orthonormal directions of largest variance;
- `ICA`: directions along which the data are least Gaussian;
- `NMF`: non-negative parts and non-negative codes;
- `KMeans`: one centre for each row, the sparsest code there is;
- `RandomAtoms`: a dictionary that nobody learnt, with a real encoder;
- `RawInputs`: no dictionary at all.

What is learnt comes from scikit-learn. Codes of `PCA`, `ICA`, `NMF` and `RawInputs` are dense;
`n_nonzero` keeps for each row those of largest magnitude, so that methods are compared at the same
number of non-zeros. Fits run on one thread: what scikit-learn sums would otherwise depend on the
number of cores. Adding a baseline is a file with a subclass of `Baseline`, a name here, and a row
in `icfl.persistence.CLASSES`.
"""

from __future__ import annotations

from icfl.baselines.ica import ICA
from icfl.baselines.kmeans import KMeans
from icfl.baselines.nmf import NMF
from icfl.baselines.pca import PCA
from icfl.baselines.random_atoms import RandomAtoms
from icfl.baselines.raw_inputs import RawInputs

__all__ = ["ICA", "NMF", "PCA", "KMeans", "RandomAtoms", "RawInputs"]

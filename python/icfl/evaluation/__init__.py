"""Learners side by side: equal width, equal sparsity, the same held-out groups and seeds.

`plan.py` says which fits there are, `learners.py` makes them alike, `cells.py` fits and measures
one of them, `cache.py` keeps what was found, `comparison.py` is the table, `running.py` the call.
"""

from __future__ import annotations

from icfl.evaluation.comparison import Comparison
from icfl.evaluation.running import compare

__all__ = ["Comparison", "compare"]

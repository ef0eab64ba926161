"""Learning a dictionary: the estimator `ICFL` (`learner`) and the loop behind it (`training`).

A run begins, continues or resumes in `runs`; `minibatches` says which rows make up which step;
`history` and `checkpoint` keep what happened. How the dictionary moves is in `icfl.updates`.
"""

from icfl.learning.learner import ICFL

__all__ = ["ICFL"]

"""Learning a dictionary: the face of all learners (`learner`) and the loop behind it (`training`).

`icfl` is the learner of this package's name. What the loop moves is a `stepper`: `pursuit` encodes
and updates by turns.
A run begins, continues or resumes in `runs`; `minibatches` says which rows make up which step;
`history` and `checkpoint` keep what happened. How the dictionary moves is in `icfl.updates`.
"""

from icfl.learning.icfl import ICFL

__all__ = ["ICFL"]

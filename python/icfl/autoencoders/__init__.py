"""Sparse autoencoders: learners whose codes come from an encoder of their own.

One file each says what is special about a variant; `base` has what they share, `recipe` how they
are trained, `compiled` the training on the CPU; `icfl.torch` has that on other devices, and that of
`JumpReLUSAE` and `MatchingPursuitSAE` anywhere.
"""

from icfl.autoencoders.abs_topk import AbsTopKSAE
from icfl.autoencoders.batch_topk import BatchTopKSAE
from icfl.autoencoders.jump_relu import JumpReLUSAE
from icfl.autoencoders.matching_pursuit import MatchingPursuitSAE
from icfl.autoencoders.matryoshka import MatryoshkaSAE
from icfl.autoencoders.topk import TopKSAE

__all__ = [
    "AbsTopKSAE",
    "BatchTopKSAE",
    "JumpReLUSAE",
    "MatchingPursuitSAE",
    "MatryoshkaSAE",
    "TopKSAE",
]

"""The PyTorch backend: every learner on a GPU, and tensors in and out.

``backend="torch"`` and `device` choose it; `TorchBackend` is the same choice with its options. The
estimators are those of the CPU: same mini-batches, same recipe, same attributes and files. PyTorch
is imported by this package alone, once a learner needs it (``pip install 'icfl[torch]'``).
"""

from icfl.torch.backend import TorchBackend

__all__ = ["TorchBackend"]

"""The selective scan and the causal convolution on any machine: the package `vmamba_kernels`."""

from vmamba_kernels import *  # noqa: F403
from vmamba_kernels import __all__ as __all__

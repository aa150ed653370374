"""The selective scan and the causal convolution of Mamba, on any machine.

`selective_scan` is positionally a drop-in for mamba_ssm's `selective_scan_fn`. Importing this
package loads neither llvmlite nor triton; `backends()` says which implementations this machine has.
"""

from vmamba_kernels.backends import Backend, backends
from vmamba_kernels.conv import causal_conv1d
from vmamba_kernels.scan import ScanResult, selective_scan, selective_scan_with_states

__all__ = [
    "Backend",
    "ScanResult",
    "backends",
    "causal_conv1d",
    "selective_scan",
    "selective_scan_with_states",
]

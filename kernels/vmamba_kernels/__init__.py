"""The selective scan and the causal convolution of Mamba, on any machine.

`selective_scan` is positionally a drop-in for mamba_ssm's `selective_scan_fn`. Importing this
package loads neither llvmlite nor triton; `backends()` says which implementations this machine has.
"""

from vmamba_kernels.backends import Backend, backends
from vmamba_kernels.conv import causal_conv1d
from vmamba_kernels.scan import (
    BidirectionalResult,
    ScanInputs,
    ScanNorms,
    ScanResult,
    selective_scan,
    selective_scan_with_norms,
    selective_scan_with_states,
)
from vmamba_kernels.scan.bidirectional import (
    bidirectional_selective_scan,
    bidirectional_selective_scan_with_states,
    gated_sum,
    step_size,
)
from vmamba_kernels.scan.window import scan_window

__all__ = [
    "Backend",
    "BidirectionalResult",
    "ScanInputs",
    "ScanNorms",
    "ScanResult",
    "backends",
    "bidirectional_selective_scan",
    "bidirectional_selective_scan_with_states",
    "causal_conv1d",
    "gated_sum",
    "scan_window",
    "selective_scan",
    "selective_scan_with_norms",
    "selective_scan_with_states",
    "step_size",
]

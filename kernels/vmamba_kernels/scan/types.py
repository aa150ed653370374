"""What a scan takes for one direction, and what it gives."""

from typing import NamedTuple

from torch import Tensor


class ScanInputs(NamedTuple):
    """The arguments of one direction of a bidirectional scan, as `selective_scan` takes them."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    delta_bias: Tensor | None = None
    initial_state: Tensor | None = None


class ScanResult(NamedTuple):
    """What a scan gives when its states are kept."""

    y: Tensor
    states: Tensor


class ScanNorms(NamedTuple):
    """What a scan gives when its states are reduced as they are made.

    Args:
        y: As `selective_scan` gives it.
        over_states: Norm over states, sqrt(sum_n h^2), (batch, d_inner, seqlen).
        over_channels: Norm over channels, sqrt(sum_d h^2), (batch, d_state, seqlen).
        readout: What is read, sum_n C h, (batch, d_inner, seqlen): y without skip and gate.
    """

    y: Tensor
    over_states: Tensor
    over_channels: Tensor
    readout: Tensor


class BidirectionalResult(NamedTuple):
    """What a bidirectional scan gives when its states are kept.

    Args:
        y: (forward.y + backward.y) * silu(z), the same bits as without states.
        forward: y before the gate, and the kept states, of the forward direction.
        backward: The same of the backward direction.
    """

    y: Tensor
    forward: ScanResult
    backward: ScanResult

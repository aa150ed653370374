from .attention import (
    AttentionMatrix,
    TokenAttention,
    attention_matrix,
    hidden_attention,
    logit_attention,
)
from .camera_motion import CameraMotion, measure_camera
from .channels import Channels, channel_statistics, clip_half_lives
from .delta import DeltaContrast, delta_contrast
from .erasure import AfterCut, after_cut, collect_after_cut
from .evidence import (
    EvidenceCurve,
    LogitReadout,
    held_frame_curve,
    logit_readout,
    prefix_curve,
    suffix_curve,
)
from .frame_states import FrameStates, collect
from .logits import DirectCurves, LogitParts, logit_parts
from .memory import HalfLives, half_lives, retained_share, retention
from .patching import Sweep, TwinPatching, logit_difference, sweep, twin_patching
from .peak_memory import peak_bytes
from .probes import ProbeScores, probe
from .reach import LookBack, LookBackCourse, look_back, look_back_course
from .rollout import Rollout, attention_rollout
from .scan_operator import DenseBudgetError, ScanOperator
from .selection import SelectionSwap, TimeInvariant, selection_swap, time_invariant
from .similarity import (
    StateSimilarity,
    debiased_cka,
    participation_ratio,
    scale_free_states,
    state_similarity,
)
from .states import reading_strength, state_norms, token_norms
from .timeline import Timeline
from .token_weights import FrameContributions, TokenWeights
from .trajectories import Trajectory, states_by_frame, trajectory
from .truth import ShareInside, in_window, share_inside, touched, touched_tokens

__all__ = [
    "AfterCut",
    "AttentionMatrix",
    "CameraMotion",
    "Channels",
    "DeltaContrast",
    "DenseBudgetError",
    "DirectCurves",
    "EvidenceCurve",
    "FrameContributions",
    "FrameStates",
    "HalfLives",
    "LogitParts",
    "LogitReadout",
    "LookBack",
    "LookBackCourse",
    "ProbeScores",
    "Rollout",
    "ScanOperator",
    "SelectionSwap",
    "ShareInside",
    "StateSimilarity",
    "Sweep",
    "TimeInvariant",
    "Timeline",
    "TokenAttention",
    "TokenWeights",
    "Trajectory",
    "TwinPatching",
    "after_cut",
    "attention_matrix",
    "attention_rollout",
    "channel_statistics",
    "clip_half_lives",
    "collect",
    "collect_after_cut",
    "debiased_cka",
    "delta_contrast",
    "half_lives",
    "held_frame_curve",
    "hidden_attention",
    "in_window",
    "logit_attention",
    "logit_difference",
    "logit_parts",
    "logit_readout",
    "look_back",
    "look_back_course",
    "measure_camera",
    "participation_ratio",
    "peak_bytes",
    "prefix_curve",
    "probe",
    "reading_strength",
    "retained_share",
    "retention",
    "scale_free_states",
    "selection_swap",
    "share_inside",
    "state_norms",
    "state_similarity",
    "states_by_frame",
    "suffix_curve",
    "sweep",
    "time_invariant",
    "token_norms",
    "touched",
    "touched_tokens",
    "trajectory",
    "twin_patching",
]

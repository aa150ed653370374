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
from .features.activations import Activations, Site, record_activations, state_gauge
from .features.cards import FeatureCard, FeatureCards, feature_cards
from .features.fit import train_features
from .features.measures import FeatureQuality, feature_agreement, measure_features
from .features.sae import SparseFeatures, load_features
from .frame_states import FrameStates, collect
from .headline import Decisive, decisive
from .lens import LensReading, StateLens, state_lens
from .logits import DirectCurves, LogitParts, logit_parts
from .memory import HalfLives, half_lives, retained_share, retention
from .nonfinite import FiniteReport, NonFinite
from .patching import Sweep, TwinPatching, logit_difference, sweep, twin_patching
from .peak_memory import peak_bytes
from .probes import ProbeScores, probe, read_class
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
from .single_states import state_contributions, state_map, state_sizes
from .slow_states import (
    StateEffects,
    StateSurgery,
    state_effects,
    state_half_lives,
    state_surgery,
    top_states,
)
from .states import reading_strength, state_norms, token_norms
from .timeline import Timeline
from .token_weights import FrameContributions, TokenWeights
from .trajectories import Trajectory, states_by_frame, trajectory
from .truth import ShareInside, in_window, share_inside, touched, touched_tokens

__all__ = [
    "Activations",
    "AfterCut",
    "AttentionMatrix",
    "CameraMotion",
    "Channels",
    "Decisive",
    "DeltaContrast",
    "DenseBudgetError",
    "DirectCurves",
    "EvidenceCurve",
    "FeatureCard",
    "FeatureCards",
    "FeatureQuality",
    "FiniteReport",
    "FrameContributions",
    "FrameStates",
    "HalfLives",
    "LensReading",
    "LogitParts",
    "LogitReadout",
    "LookBack",
    "LookBackCourse",
    "NonFinite",
    "ProbeScores",
    "Rollout",
    "ScanOperator",
    "SelectionSwap",
    "ShareInside",
    "Site",
    "SparseFeatures",
    "StateEffects",
    "StateLens",
    "StateSimilarity",
    "StateSurgery",
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
    "decisive",
    "delta_contrast",
    "feature_agreement",
    "feature_cards",
    "half_lives",
    "held_frame_curve",
    "hidden_attention",
    "in_window",
    "load_features",
    "logit_attention",
    "logit_difference",
    "logit_parts",
    "logit_readout",
    "look_back",
    "look_back_course",
    "measure_camera",
    "measure_features",
    "participation_ratio",
    "peak_bytes",
    "prefix_curve",
    "probe",
    "read_class",
    "reading_strength",
    "record_activations",
    "retained_share",
    "retention",
    "scale_free_states",
    "selection_swap",
    "share_inside",
    "state_contributions",
    "state_effects",
    "state_gauge",
    "state_half_lives",
    "state_lens",
    "state_map",
    "state_norms",
    "state_similarity",
    "state_sizes",
    "state_surgery",
    "states_by_frame",
    "suffix_curve",
    "sweep",
    "time_invariant",
    "token_norms",
    "top_states",
    "touched",
    "touched_tokens",
    "train_features",
    "trajectory",
    "twin_patching",
]

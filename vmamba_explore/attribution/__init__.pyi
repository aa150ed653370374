from .clip_scores import ClipScore, card_methods, score_on_clip
from .conservation import Conservation
from .ground_truth import Truth, average_precision, scores
from .lrp_rules import ALL_RULES
from .methods import METHODS, UnknownMethodError, attribute, make_problem, method_function
from .metrics import completeness_gap, infidelity, sensitivity_max, shift_sensitivity
from .problem import Problem, State
from .relevance import RelevanceFlow, relevance_flow
from .removal_scores import (
    Faithfulness,
    RandomControl,
    RemovalCurve,
    deletion,
    faithfulness,
    insertion,
    problem_of,
    random_control,
)
from .result import Attribution
from .sanity import (
    Agreement,
    WeightRandomization,
    agreement,
    random_logit,
    rank_correlation,
    weight_randomization,
)
from .states import StateGradients, state_gradient

__all__ = [
    "ALL_RULES",
    "METHODS",
    "Agreement",
    "Attribution",
    "ClipScore",
    "Conservation",
    "Faithfulness",
    "Problem",
    "RandomControl",
    "RelevanceFlow",
    "RemovalCurve",
    "State",
    "StateGradients",
    "Truth",
    "UnknownMethodError",
    "WeightRandomization",
    "agreement",
    "attribute",
    "average_precision",
    "card_methods",
    "completeness_gap",
    "deletion",
    "faithfulness",
    "infidelity",
    "insertion",
    "make_problem",
    "method_function",
    "problem_of",
    "random_control",
    "random_logit",
    "rank_correlation",
    "relevance_flow",
    "score_on_clip",
    "scores",
    "sensitivity_max",
    "shift_sensitivity",
    "state_gradient",
    "weight_randomization",
]

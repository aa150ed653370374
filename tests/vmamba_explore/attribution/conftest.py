"""What most methods are tried on."""

import pytest
import torch

from tests.vmamba_explore.analysis.dense import VARIANTS
from tests.vmamba_explore.attribution.cases import MINUS, QUANTITIES, TARGET, build
from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.attribution.methods import make_problem
from vmamba_explore.trace.record import run_with_trace


@pytest.fixture
def model():
    """Return a model in float64."""
    return toy(dtype=torch.float64)


@pytest.fixture
def clips(model):
    """Return two clips for the model."""
    return clips_for(model)


@pytest.fixture(scope="module", params=VARIANTS)
def case(request):
    """Return a model, a problem, and for every hook name the value and the logit's gradient."""
    model, clips = build(**VARIANTS[request.param])
    problem = make_problem(model, clips, TARGET, minus=MINUS)
    with torch.enable_grad():
        logits, trace = run_with_trace(model, clips, QUANTITIES)
        number = problem.pick(logits).sum()
        gradients = torch.autograd.grad(number, list(trace.values()), materialize_grads=True)
    return model, problem, trace, dict(zip(trace, gradients, strict=True))

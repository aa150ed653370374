import pytest

from vmamba_explore import load_model
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.studies.features.compare import KINDS
from vmamba_explore.studies.features.run import MODELS, sites
from vmamba_explore.studies.features.tables import comparison, load_study, steering


@pytest.mark.parametrize("name", MODELS)
def test_the_bundled_study_was_made_with_the_bundled_weights_and_its_sites(name):
    model, found = load_model(name), load_study()["models"][name]
    assert found["weights"] == fingerprint(model), f"run `make features`: {name} has other weights"
    measured = {kind: held["site"] for kind, held in found["sites"].items()}
    assert measured == {kind: str(site) for kind, site in sites(model).items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_factor_has_a_row_and_every_claim_the_threshold(name):
    found = load_study()
    for site, held in found["models"][name]["sites"].items():
        table = comparison(found, name, site)
        assert list(table.index) == [row["factor"] for row in held["factors"]]
        assert set(KINDS) <= set(table.columns)
        steered = steering(found, name, site)
        assert len(steered) == len(held["steering"])
        assert all(row["auroc"] >= found["claims_from"] for row in held["steering"])


def test_a_site_that_was_not_measured_is_an_error():
    with pytest.raises(ValueError, match="late tokens"):
        comparison(load_study(), "motion-nano", "layer 7")

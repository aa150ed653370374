import numpy as np
import torch

from vmamba_explore.analysis.features.activations import Site
from vmamba_explore.analysis.features.sae import FeatureSettings, SparseFeatures
from vmamba_explore.studies.features.compare import (
    CHANNEL,
    FEATURE,
    RANDOM,
    Lot,
    best,
    components,
    numbers_of,
    random_dictionary,
    table,
)
from vmamba_explore.studies.features.factors import Factor, Rows

SIZE, WIDTH = 6, 12


def features(seed=0):
    settings = FeatureSettings(Site(0), WIDTH, 2, "topk", 1, 2, 0.1, seed, 0.0, 1, 10, "")
    return SparseFeatures(settings, torch.zeros(SIZE), torch.ones(SIZE)).requires_grad_(False)


def lot(seed, clips=40):
    """Vectors whose channel 3 tells a factor, but for noise."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(clips * 4, SIZE, generator=generator)
    truth = (torch.arange(clips * 4) % 3 == 0).double().numpy()
    vectors[:, 3] += 4 * torch.from_numpy(truth).float()
    factor = Factor("it", "it", truth, np.ones(clips * 4, bool))
    known = Rows(np.arange(clips * 4), np.repeat(np.arange(clips), 4), clips, {"it": factor})
    return Lot(vectors, known)


def test_the_channel_that_was_planted_is_chosen_and_beats_a_random_dictionary():
    train, test = lot(1), lot(2)
    found = best(numbers_of(features(), train, test), train.known, test.known)
    chosen = found[CHANNEL]["it"]
    assert chosen.number == 3 and chosen.draws[0] > 0.98
    assert found[RANDOM]["it"].draws[0] < chosen.draws[0]


def test_the_choice_is_made_without_the_test_clips():
    train, test = lot(1), lot(2)
    numbers = numbers_of(features(), train, test)
    fitted = {kind: number[0] for kind, number in numbers.items()}
    mixed = {kind: (each, -numbers[kind][1][::-1].copy()) for kind, each in fitted.items()}
    with_test = best(numbers, train.known, test.known)
    without = best(mixed, train.known, test.known)
    for kind, by_factor in with_test.items():
        assert by_factor["it"][:3] == without[kind]["it"][:3]


def test_a_random_dictionary_has_the_width_and_the_sparsity_of_the_features():
    vectors, found = lot(1).vectors, features()
    drawn = random_dictionary(found, vectors)
    codes = [each.sparse(each.raw_codes(vectors)) for each in (found, drawn)]
    assert codes[0].shape == codes[1].shape
    active = [float((each > 0).double().sum(1).mean()) for each in codes]
    assert abs(active[0] - active[1]) < 0.02
    assert not torch.allclose(found.decoder, drawn.decoder)
    other = random_dictionary(features(1), vectors)
    assert not torch.allclose(other.decoder, drawn.decoder)


def test_components_are_orthogonal_and_the_first_has_the_largest_variance():
    vectors = lot(1).vectors
    mean, directions = components(vectors, 4)
    torch.testing.assert_close(directions.T @ directions, torch.eye(4), atol=1e-5, rtol=0)
    spread = ((vectors - mean) @ directions).var(0)
    assert (spread.diff() < 0).all()
    assert float(directions[3, 0].abs()) > 0.9


def test_the_table_gives_the_mean_of_the_seeds_and_the_difference_on_the_same_draws():
    train, test = lot(1), lot(2)
    runs = []
    for seed in range(2):
        numbers = numbers_of(features(seed), train, test)
        kinds = tuple(numbers) if seed == 0 else (FEATURE, RANDOM)
        runs.append(best(numbers, train.known, test.known, kinds))
    (row,) = table(runs, test.known)
    each = [run[FEATURE]["it"].draws for run in runs]
    assert row[FEATURE]["seeds"] == [round(float(one[0]), 4) for one in each]
    difference = np.mean(each, 0) - runs[0][CHANNEL]["it"].draws
    assert row["feature less channel"]["value"] == round(float(difference[0]), 4)
    assert row["feature less channel"]["low"] == round(float(np.quantile(difference[1:], 0.025)), 4)

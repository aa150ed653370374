"""Tiles on one canvas."""

import numpy as np

from vmamba_explore.view.figures.tiles import mosaic


def test_a_mosaic_holds_every_tile_at_its_place():
    tiles = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    board = mosaic(tiles)
    assert board.values.shape == (2 * 4 + 1, 3 * 5 + 2)
    assert np.array_equal(board.values[5:9, 12:17], tiles[1, 2].astype(np.float32))
    assert board.places[6, 13].tolist() == [1, 2, 1, 1]
    assert np.isnan(board.values[4]).all() and np.isnan(board.values[:, 5]).all()
    assert board.x.tolist() == [2, 8, 14] and board.y.tolist() == [1.5, 6.5]

"""The page of feature cards in a browser: what it shows, its search, and foreign text."""

import dataclasses

import numpy as np
import pytest

from tests.vmamba_explore.analysis.features.planted import small_model
from vmamba_explore.analysis.features.activations import Site, record_activations
from vmamba_explore.analysis.features.cards import feature_cards
from vmamba_explore.analysis.features.fit import train_features
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.view.feature_cards import feature_cards_page

EVIL = "</script><script>window.evil = true</script>"
SITES = {"tokens": Site(1), "states": Site(0, "backward")}
SERIES = MotionClips(0, num_frames=8, img_size=16)


@pytest.fixture(scope="module", params=SITES)
def cards(request):
    model = small_model()
    model.class_names = ("up", "down", "left", EVIL)
    clips = [SERIES[number] for number in range(10)]
    named = [dataclasses.replace(clip.clip, source=f"{EVIL} {n}") for n, clip in enumerate(clips)]
    rows = record_activations(model, named, SITES[request.param])
    features = train_features(rows, width=16, k=3, steps=60, batch_size=16)
    labels = [clip.label % 4 for clip in clips]
    return feature_cards(model, features, rows, named, which=6, top=3, labels=labels, common=4)


@pytest.fixture
def page(cards, tmp_path, open_offline):
    file = tmp_path / "features.html"
    file.write_text(feature_cards_page(cards, EVIL, {EVIL: EVIL}), encoding="utf-8")
    opened = open_offline(file)
    opened.wait_for_selector("article")
    return opened


def titles(page):
    return page.locator("article h3").all_inner_texts()


def names(features):
    return [f"Feature {feature}" for feature in features]


def test_html_in_any_text_shows_as_text_and_nothing_is_asked_of_a_network(page, cards):
    assert page.evaluate("window.evil") is None
    assert page.locator("h1").inner_text() == EVIL
    assert EVIL in page.locator("article").first.inner_text()
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_each_card_has_its_clips_and_the_order_can_be_that_of_a_class(page, cards):
    assert titles(page) == names(card.feature for card in cards.cards)
    strips = page.locator("article").first.locator("canvas")
    assert strips.count() == len(cards.cards[0].top)
    page.select_option("select >> nth=1", "class")
    page.select_option("select >> nth=2", "2")
    values = {card.feature: -card.by_class[2] for card in cards.cards}
    assert titles(page) == names(sorted(values, key=values.get))
    page.select_option("select >> nth=1", "raises")
    values = {card.feature: -card.added[2].value for card in cards.cards}
    assert titles(page) == names(sorted(values, key=values.get))


def test_clicking_a_patch_lists_what_features_have_there(page, cards):
    clip = cards.clips[1]
    page.select_option("select >> nth=0", "1")
    page.locator("input[type=range]").fill("2")
    canvas = page.locator(".clip canvas")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.25})  # row 0, column 1
    if clip.written is None:
        peaks = np.stack([each.codes.max((1, 2, 3)) for each in cards.clips]).max(0)
        levels = np.rint(254 * clip.codes[:, 2, 0, 1] / peaks) / 254
    else:
        reach = np.abs(clip.written).max((1, 2, 3))
        levels = np.rint(127 * clip.written[:, 2, 0, 1] / reach) / 127
    order = [n for n in np.argsort(-np.abs(levels), kind="stable") if levels[n]]
    listed = page.locator(".found a").all_inner_texts()
    assert listed == names(cards.cards[n].feature for n in order) != []
    shown = page.locator(".found span:nth-child(2)").first.inner_text()
    number = float(shown.removesuffix(" %").replace("−", "-"))
    assert number == pytest.approx(100 * levels[order[0]], abs=0.6)


def test_a_map_is_drawn_over_the_frames(page, cards):
    pixels = "(c) => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    canvas = page.locator(".clip canvas")
    before = canvas.evaluate(pixels)
    page.locator(".found button").first.click()
    assert canvas.evaluate(pixels) != before
    page.locator("article > button").last.click()
    assert "map of feature" in page.locator(".clip .soft").inner_text()


@pytest.mark.parametrize("width", [640, 1000, 1400])
def test_nothing_is_wider_than_the_page(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.evaluate(
        "[...document.querySelectorAll('.vmx-features *')].filter((e) => "
        "!e.closest('svg, .track, option') && "
        "e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length"
    )
    assert cut == 0


@pytest.mark.parametrize(("scheme", "lightest"), [("light", False), ("dark", True)])
def test_text_takes_the_colors_of_the_theme(cards, tmp_path, open_offline, scheme, lightest):
    file = tmp_path / "features.html"
    file.write_text(feature_cards_page(cards, "x", {}), encoding="utf-8")
    opened = open_offline(file, color_scheme=scheme)
    opened.wait_for_selector("article")
    color = opened.locator("article h3").first.evaluate("(node) => getComputedStyle(node).color")
    assert (color == "rgb(255, 255, 255)") == lightest


def test_clips_that_are_not_those_of_the_vectors_are_mentioned(cards):
    assert "the files or the model have changed" not in feature_cards_page(cards, "x", {})
    changed = dataclasses.replace(cards, differs=2)
    assert "2 of the clips shown give other codes" in feature_cards_page(changed, "x", {})

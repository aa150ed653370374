"""A notebook with explorers in its kernel, and what tests do to the one that it shows."""

import pytest
from served import kernel_does

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

GRID = 8  # rows and columns of tokens in a frame of the bundled model
BAD_NAME = "<img src=x onerror=alert(1)><b>bold</b>"
CELLS = [
    f"""
import dataclasses, ipywidgets
from vmamba_explore import resources
from vmamba_explore.app import explore
from vmamba_explore.view.explorer import Explorer
clip = lambda name: resources.path(f"clips/{{name}}.mp4")
one = explore(clip("right"), progress=False)
two = explore(clip("right"), compare="reversed", progress=False)
first, _ = one.explorations[0], two.complete()  # what comes later would be drawn anew in a test
bad = Explorer(dataclasses.replace(
    first,
    clip=dataclasses.replace(first.clip, source={BAD_NAME!r}),
    classes=[({BAD_NAME!r}, 0.75), ("other", 0.25)],
    target={BAD_NAME!r},
    model={BAD_NAME!r},
))
""",
    "box = ipywidgets.VBox()\nbox",
]
PIXELS = "canvas => canvas.toDataURL()"


def show_explorer(page, name):
    """Show one of the kernel's explorers as it is when it is new, and wait until it is drawn."""
    # Asked alone: it is done when the kernel has heard all that the one shown before it had to say.
    kernel_does(page, "box.children = ()")
    kernel_does(
        page,
        f"each = {name}\n"
        "each.frame, each.layer, each.quantity = 0, each.layers[-1], 'delta'\n"
        "each.direction, each.path, each.query = 'both', False, []\n"
        "each.opacity, each.speed, each.scale = 0.55, 0.5, 'layer'\n"
        "each.tour, each.pixels = False, 'model'\n"  # the file's pixels come when they come
        "box.children = (each,)",
    )
    explorer = page.locator(".vmx-explorer[data-ready='1']")
    expect(explorer).to_have_count(1)
    is_at(explorer, frame=0, quantity="delta", direction="both", query="")
    explorer.scroll_into_view_if_needed()
    return explorer


def pane(explorer, side="0", direction="forward"):
    return explorer.locator(f".vmx-panes canvas[data-side='{side}'][data-direction='{direction}']")


def drawn(explorer):
    """All that the panes show."""
    return explorer.locator(".vmx-panes canvas").evaluate_all(f"all => all.map({PIXELS})")


def is_at(explorer, **state):
    for name, value in state.items():
        expect(explorer).to_have_attribute(f"data-{name}", str(value))


def click_patch(canvas, row, col):
    canvas.click(position=middle_of(canvas, row, col))


def middle_of(canvas, row, col):
    """Where on a pane the middle of a patch is."""
    box = canvas.bounding_box()
    return {"x": (col + 0.5) * box["width"] / GRID, "y": (row + 0.5) * box["height"] / GRID}

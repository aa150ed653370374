import pytest

from vmamba_explore.view.explorer.tabs import NumbersTab


def test_a_tab_that_cannot_draw_is_refused_when_it_is_made():
    class Empty(NumbersTab):
        """Lacks `draw`."""

    with pytest.raises(TypeError, match="abstract method '?draw"):
        Empty(lambda: None)

"""What became of a layer: the shapes in its place, or that it was left."""

from support.service import fake_engine

from app.dashboard.layer_graph import fate
from convpress.report import Site


def site(**changes):
    return Site.model_validate({**fake_engine.REPORT["sites"][0], **changes})


def test_a_factored_layer_shows_the_layers_in_its_place():
    assert list(fate(site()).layers) == ["6x1x3x3", "8x6x1x1"]
    assert fate(site(branches=3)).branches == 3


def test_a_layer_that_was_left_has_none():
    for form in (None, "original"):
        left = fate(site(form=form, layers=[], reason="it has groups"))
        assert not left.layers

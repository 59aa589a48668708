"""Layers with fewer outputs: they give those outputs of the whole layers."""

import numpy as np
import pytest
import torch
from support.engine.oracles import factorisations, inputs, run

from worker.engine.decompose import Target
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import unknown
from worker.engine.selection.channels.narrowed import (
    Narrowed,
    can_lose_outputs,
    cut_outputs,
)

KEPT = [0, 2, 5]
ONES, NONE = (1, 1), ((0, 0), (0, 0))


def layer(shape, groups=1):
    rng = np.random.default_rng(1)
    geometry = Convolution(shape, ONES, NONE, ONES, groups)
    return Layer(geometry, rng.standard_normal(shape), rng.standard_normal(shape[0]))


def test_every_form_gives_the_outputs_that_stay():
    whole = layer((6, 12, 3, 3))
    x = inputs(whole)
    target = Target.of(whole, unknown(whole.convolution))
    forms = list(factorisations(whole.convolution))
    assert "pointwise-first" in {form.form for form in forms}
    for form in forms:
        rank = form.ranks[0]
        assert can_lose_outputs(form.convolutions(rank))
        chain = form.layers(target, rank)
        narrow = cut_outputs(chain, KEPT)
        torch.testing.assert_close(run(narrow, x), run(chain, x)[:, KEPT])
        own = Narrowed.of(whole.convolution, form, len(KEPT))
        assert own.convolutions(rank) == tuple(each.convolution for each in narrow)
        assert (own.form, own.variant) == (form.form, form.variant)
        np.testing.assert_array_equal(
            own.errors(target, [rank]), form.errors(target, [rank])
        )


@pytest.mark.parametrize(("shape", "groups"), [((6, 4, 3, 3), 1), ((6, 1, 3, 3), 6)])
def test_a_layer_itself_gives_the_outputs_that_stay(shape, groups):
    whole = layer(shape, groups)
    x = inputs(whole)
    (narrow,) = cut_outputs([whole], KEPT)
    channels = KEPT if groups > 1 else slice(None)
    torch.testing.assert_close(run([narrow], x[:, channels]), run([whole], x)[:, KEPT])
    own = Narrowed.of(whole.convolution, None, len(KEPT))
    assert own.convolutions(len(KEPT)) == (narrow.convolution,)
    assert own.layers(Target.of(whole, unknown(whole.convolution)), 3) == (whole,)


def test_every_form_of_a_depthwise_layer_loses_whole_channels():
    whole = layer((6, 1, 5, 5), 6)
    x = inputs(whole)
    target = Target.of(whole, unknown(whole.convolution))
    ranks = []
    for form in factorisations(whole.convolution):
        for rank in form.ranks:
            chain = form.layers(target, rank)
            narrow = cut_outputs(chain, KEPT)
            outputs = run(chain, x)[:, KEPT]
            torch.testing.assert_close(run(narrow, x[:, KEPT]), outputs)
            own = Narrowed.of(whole.convolution, form, len(KEPT))
            assert own.convolutions(rank) == tuple(each.convolution for each in narrow)
            ranks.append(rank)
    # several filters a channel
    assert max(ranks) > 1


def test_groups_of_several_outputs_lose_none():
    assert not can_lose_outputs([layer((6, 2, 3, 3), 2).convolution])

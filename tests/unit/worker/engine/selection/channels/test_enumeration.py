"""Candidates that keep some channels, at the end of a path."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.engine.analyses import ORIGINAL

from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments
from worker.engine.selection.candidates import SiteCandidates
from worker.engine.selection.channels.enumeration import add_channels
from worker.engine.selection.channels.paths import ChannelPath
from worker.engine.selection.input_statistics import Uncalibrated

ONES, NONE = (1, 1), ((0, 0), (0, 0))
CHANNELS = 20


def site(name, kernel=1):
    convolution = Convolution((CHANNELS, CHANNELS, kernel, kernel), ONES, NONE, ONES)
    shape = convolution.weight_shape
    return Site(name, "Conv", shape, 1, convolution, (Call(1, (4, 4)),))


LAYER = Layer(site("").convolution, np.eye(CHANNELS)[:, :, None, None], None)
PATHS = {"last": ChannelPath("first", "last", (), (), ())}
VARIANCES = np.arange(1.0, CHANNELS + 1)
MOMENTS = Moments.of(np.zeros((1, CHANNELS)), np.diag(VARIANCES)[None])
STATISTICS = SimpleNamespace(moments=SimpleNamespace(by_site={"last": MOMENTS}))


def added(statistics=STATISTICS, layer=LAYER, aligned=False, first=(ORIGINAL,)):
    sites = [
        SiteCandidates(site("first", 3), tuple(first), None),
        SiteCandidates(site("last"), (ORIGINAL,), None),
    ]
    model = SimpleNamespace(layer=lambda _: layer)
    start, end = add_channels(model, sites, PATHS, statistics, None, aligned=aligned)
    return start.candidates, end.candidates[1:]


def test_every_number_of_channels_is_on_offer_with_its_cost_and_its_error():
    _, candidates = added()
    assert [each.rank for each in candidates] == list(range(1, CHANNELS))
    assert [each.parameters for each in candidates] == [
        CHANNELS * rank for rank in range(1, CHANNELS)
    ]
    # independent channels: those of the least variance go first
    lost = np.cumsum(VARIANCES)[::-1][1:] / VARIANCES.sum()
    errors = [each.error for each in candidates]
    assert errors == pytest.approx(lost.tolist(), abs=1e-3)


def test_wide_layers_keep_few_or_whole_blocks_of_channels():
    _, candidates = added(aligned=True)
    assert [each.rank for each in candidates] == [1, 2, 3, 4, 8, 12, 16]


def test_without_statistics_or_finite_weights_nothing_is_added():
    assert added(Uncalibrated("a reason"))[1] == ()
    infinite = replace(LAYER, weight=np.full_like(LAYER.weight, np.inf))
    assert added(layer=infinite)[1] == ()


def test_forms_that_cannot_lose_outputs_are_left_out_where_a_path_begins():
    geometry = site("first", 3).convolution
    several = replace(geometry, weight_shape=(CHANNELS, 2, 3, 3), groups=CHANNELS // 2)
    whole, grouped = (
        SimpleNamespace(convolutions=(one,)) for one in (geometry, several)
    )
    start, _ = added(first=(ORIGINAL, whole, grouped))
    assert start == (ORIGINAL, whole)

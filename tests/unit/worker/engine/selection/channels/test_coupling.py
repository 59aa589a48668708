"""Costs of sites that lose channels together, by hand from the channels that stay."""

from support.engine.costs import cost_table

from worker.engine.decompose.channels import Channels
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.channels.coupling import Coupling, kept_inputs
from worker.engine.selection.channels.paths import ChannelPath

ONES, NONE = (1, 1), ((0, 0), (0, 0))
POSITIONS = 10


def site(name, shape, groups=1):
    convolution = Convolution(shape, ONES, NONE, ONES, groups)
    call = Call(1, (POSITIONS, 1))
    macs = convolution.macs((POSITIONS, 1))
    return Site(name, "Conv", shape, macs, convolution, (call,))


# a pointwise layer, a depthwise one, and the layer that takes their channels
FIRST = site("first", (8, 4, 1, 1))
MIDDLE = site("middle", (8, 1, 1, 1), 8)
LAST = site("last", (6, 8, 1, 1))
PATHS = {"last": ChannelPath("first", "last", ("middle",), (), ())}


def original(each):
    return Candidate(each.macs, each.macs // POSITIONS, 0.0)


FORM = Channels.of(LAST.convolution)
ORIGINALS = [original(each) for each in (FIRST, MIDDLE, LAST)]


def keeping(channels):
    parameters = 6 * channels
    return Candidate(POSITIONS * parameters, parameters, 0.1, FORM, channels)


FIVE, THREE = keeping(5), keeping(3)


def coupling(table=None):
    sites = [
        SiteCandidates(FIRST, (ORIGINALS[0],), None),
        SiteCandidates(MIDDLE, (ORIGINALS[1],), None),
        SiteCandidates(LAST, (ORIGINALS[2], FIVE, THREE), None),
    ]
    return Coupling(sites, PATHS, table)


def macs(candidates):
    return [candidate.macs for candidate in candidates]


def test_the_sites_before_have_as_many_outputs_as_the_last_one_takes():
    settled = coupling().settled([*ORIGINALS[:2], FIVE])
    assert macs(settled) == [POSITIONS * 5 * 4, POSITIONS * 5, POSITIONS * 6 * 5]
    assert [each.parameters for each in settled] == [20, 5, 30]
    assert settled[0].convolutions[0].weight_shape == (5, 4, 1, 1)
    assert settled[1].convolutions[0].groups == 5


def test_a_choice_that_keeps_all_channels_is_as_it_was():
    assert coupling().settled(ORIGINALS) == ORIGINALS


def test_prices_are_those_of_the_change_of_the_whole_choice():
    """The oracle: the difference of two settled choices."""
    for now in (ORIGINALS, [*ORIGINALS[:2], FIVE]):
        total = sum(macs(coupling().settled(now)))
        *_, last = coupling().repriced(now)
        own = coupling().settled(now)[2].macs
        for candidate, priced in zip(
            (ORIGINALS[2], FIVE, THREE), last.candidates, strict=True
        ):
            other = coupling().settled([*ORIGINALS[:2], candidate])
            change = sum(macs(other)) - total
            assert priced.macs - own == change


def test_a_table_gives_the_times_of_the_narrower_layers():
    settled = coupling(cost_table(layer_ns=0.0)).settled([*ORIGINALS[:2], FIVE])
    # a nanosecond for each of the multiply-accumulates, in whole blocks of channels
    assert settled[0].nanoseconds >= settled[0].macs


def test_only_the_form_of_channels_keeps_some():
    assert kept_inputs(LAST, FIVE) == 5
    assert kept_inputs(LAST, ORIGINALS[2]) is None
    assert kept_inputs(LAST, keeping(8)) is None

"""Paths of channels: from the layer that makes them to the only layer that takes them.

Between the two every operator treats each channel on its own: depthwise layers, normalisations by
stored statistics, activations. A channel that the last layer does not take need not be computed by
any of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.engine.decompose.channels import WIDEST
from worker.engine.model import Model, Site

if TYPE_CHECKING:  # it needs torch
    from worker.engine.program import Program, Step

_ACTIVATIONS = frozenset(
    {
        "Clip",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Tanh",
        "aten::clamp",
        "aten::elu",
        "aten::gelu",
        "aten::hardsigmoid",
        "aten::hardswish",
        "aten::hardtanh",
        "aten::leaky_relu",
        "aten::relu",
        "aten::relu6",
        "aten::selu",
        "aten::sigmoid",
        "aten::silu",
        "aten::softplus",
        "aten::tanh",
    }
)
"""Operators that map each number of their first input on its own; aten's also in place."""
_PADS = frozenset({"Pad", "aten::constant_pad_nd", "aten::pad"})
_PROBE_SIZE = 16
"""The positions along each axis of a padded probe; reflected padding needs more than it pads."""
_MOST_PARAMETERS = 1
"""The numbers of an activation's other inputs: with more it may differ between channels."""


@dataclass(frozen=True)
class ChannelPath:
    """The way of a layer's output channels to the only layer that takes them.

    `producer` and `consumer` are names of sites, and `between` those of the depthwise sites on the
    way. `values` are the names that the model's program gives the outputs of all steps of the way
    before the consumer, and `norms` those of the normalisations among them.
    """

    producer: str
    consumer: str
    between: tuple[str, ...]
    values: tuple[str, ...]
    norms: tuple[str, ...]

    @property
    def narrowed(self) -> tuple[str, ...]:
        """The sites that lose output channels."""
        return (self.producer, *self.between)


def channel_paths(
    program: "Program", sites: Sequence[Site], model: Model
) -> dict[str, ChannelPath]:
    """Return the paths of a model through depthwise layers, by the site that takes the channels.

    No two paths have a step in common. Models whose cost depends on a branch have none.
    """
    if any(site.execution_paths for site in sites):
        return {}
    steps = _Steps(program, sites)
    paths: dict[str, ChannelPath] = {}
    for site in sites:
        path = steps.path_to(site)
        if path is None:
            continue
        if model.can_keep_channels((path.consumer, *path.narrowed), path.norms):
            paths[site.name] = path
    return paths


class _Steps:
    """The steps of a program by the values that they give, and the uses of each value."""

    def __init__(self, program: "Program", sites: Sequence[Site]) -> None:
        self._constants = program.constants
        self._givers: dict[str, Step] = {}
        other_readers = (*program.outputs, *program.also_read)
        self._uses: dict[str, int] = dict.fromkeys(other_readers, 1)
        self._calls: dict[str, list[Step]] = {}
        for step in program.steps:
            self._givers.update(dict.fromkeys(step.gives, step))
            for name in step.takes:
                self._uses[name] = self._uses.get(name, 0) + 1
            if step.site is not None:
                self._calls.setdefault(step.site, []).append(step)
        self._sites = {site.name: site for site in sites}

    def path_to(self, consumer: Site) -> ChannelPath | None:
        """Return the path to a site; None where there is none."""
        if not self._is_whole(consumer):
            return None
        between: list[str] = []
        values: list[str] = []
        norms: list[str] = []
        geometry = consumer.convolution
        assert geometry is not None  # as `_is_whole` has checked
        probe_shape = (1, geometry.in_channels, *[_PROBE_SIZE] * len(geometry.kernel))
        for step in self._before(self._calls[consumer.name][0], probe_shape):
            (value,) = step.gives
            values.append(value)
            if step.norm is not None:
                norms.append(value)
            if step.site is None:
                continue
            site = self._sites[step.site]
            assert site.convolution is not None  # steps of sites are replaceable ones
            if site.convolution.out_channels != geometry.in_channels:
                return None
            if self._is_depthwise(site):
                between.append(site.name)
            elif between and self._is_whole(site):
                return ChannelPath(
                    site.name,
                    consumer.name,
                    tuple(between),
                    tuple(values),
                    tuple(norms),
                )
            else:
                return None
        return None

    def _before(self, step: "Step", probe_shape: tuple[int, ...]) -> "Iterator[Step]":
        """Yield the steps before one, the nearest first, as long as channels stay apart.

        A layer across channels is the last one. `probe_shape` is that of the channels' values, with
        any spatial size.
        """
        while True:
            value = step.takes[0]
            giver = self._givers.get(value)
            if giver is None or self._uses[value] != 1 or len(giver.gives) != 1:
                return
            step = giver
            is_known = step.site is not None or step.norm is not None
            if not (
                is_known
                or self._is_activation(step)
                or self._pads_space_alone(step, probe_shape)
            ):
                return
            yield step

    def _is_activation(self, step: "Step") -> bool:
        """Whether a step maps each number of its first input alone."""
        if step.op.removesuffix("_") not in _ACTIVATIONS:
            return False
        for name in step.takes[1:]:
            constant = self._constants.get(name)
            if constant is None or getattr(constant, "numel", int)() > _MOST_PARAMETERS:
                return False
        return True

    def _pads_space_alone(self, step: "Step", probe_shape: tuple[int, ...]) -> bool:
        """Whether a step pads, and every channel stays where it is."""
        import torch

        from worker.engine.numerics import device
        from worker.engine.program import StepError, compute

        others = [self._constants.get(name) for name in step.takes[1:]]
        if step.op not in _PADS or any(other is None for other in others):
            return False
        # every channel has a value of its own
        numbers = torch.arange(1.0, probe_shape[1] + 1)
        shape = (-1, *[1] * (len(probe_shape) - 2))
        probe = device.placed(numbers.reshape(shape).expand(probe_shape).contiguous())
        try:
            (padded,) = compute(step, [probe, *others])
        except StepError:
            return False
        return bool(
            padded.shape[:2] == probe.shape[:2]
            and torch.equal(padded.flatten(2).amax(2), probe.flatten(2).amax(2))
        )

    def _is_whole(self, site: Site) -> bool:
        """Whether a site is a layer of one group with spatial axes that runs once."""
        geometry = site.convolution
        if geometry is None or not self._runs_once(site):
            return False
        return geometry.groups == 1 and geometry.patch <= WIDEST

    def _is_depthwise(self, site: Site) -> bool:
        """Whether a site has one filter a channel and runs once."""
        geometry = site.convolution
        if geometry is None or not self._runs_once(site):
            return False
        return geometry.groups == geometry.in_channels == geometry.out_channels > 1

    def _runs_once(self, site: Site) -> bool:
        """Whether a site can be replaced, has spatial axes, is not transposed and runs once."""
        geometry = site.convolution
        if site.reason is not None or geometry is None or geometry.transposed:
            return False
        if not geometry.kernel or len(site.calls) != 1 or site.calls[0].times != 1:
            return False
        return len(self._calls.get(site.name, ())) == 1

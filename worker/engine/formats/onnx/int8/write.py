"""A float model's file rewritten in int8."""

from collections.abc import Collection
from pathlib import Path

from onnx import ModelProto

from convpress.refusal import Code, Refusal
from worker.engine.formats.adapter import Int8Inputs, Int8Layers, Int8Losses
from worker.engine.formats.onnx.int8.prepare import prepare
from worker.engine.formats.onnx.int8.quantise import quantised
from worker.engine.formats.onnx.int8.ranges import Range, activation_ranges
from worker.engine.formats.onnx.int8.survivors import MOST_ERROR, Trial, survivors

_UNMEASURED: Range = (0.0, 1.0)


def write_in_int8(
    path: Path, inputs: Int8Inputs, float_sites: Collection[str]
) -> Int8Layers:
    """Replace the float model at `path` by the same in int8, and return what became of its layers.

    The layers at `float_sites` stay in float, and so do those that lose too much. Where all do, the
    file stays as it is.

    Raises:
        Refusal: `nothing_to_compress` where int8 applies to no layer, and those of `prepare`.
    """
    prepared_path = path.with_name(f"{path.name}.prepared")
    prepared = prepare(path, prepared_path)
    model = prepared.model
    sites = {layer.node: layer.site for layer in prepared.layers}
    nodes = [node for node, site in sites.items() if site not in float_sites]
    if not nodes:
        raise Refusal(
            Code.NOTHING_TO_COMPRESS,
            "int8 applies to no layer of the model",
            field="model",
            expected="a convolution or linear layer with weights of float32 in one group",
            got="none",
        )
    ranges = activation_ranges(model, inputs.fitting)
    trial = Trial(model, ranges, inputs.held_out)
    # as many as a trial takes, evenly spread: they come range by range
    step = max(1, len(inputs.fitting) // len(inputs.held_out))
    kept = survivors(
        trial,
        nodes,
        inputs.fitting[::step],
        lambda runs: runs > inputs.most_trials,
    )
    losses = {sites[node]: loss for node, loss in kept.losses.items()}
    if not kept.nodes:
        return Int8Layers((), losses)
    in_int8 = quantised(kept.model, ranges, kept.nodes)
    _write(in_int8, path)
    kept_sites = _sites(sites, kept.nodes)
    return Int8Layers(kept_sites, losses)


def write_without_content(path: Path, float_sites: Collection[str]) -> None:
    """Replace the float model at `path` by one in int8 that is as large, but has no ranges."""
    prepared_path = path.with_name(f"{path.name}.prepared")
    prepared = prepare(path, prepared_path)
    model = prepared.model
    nodes = [layer.node for layer in prepared.layers if layer.site not in float_sites]
    if not nodes:
        return
    values = (*model.graph.input, *model.graph.output)
    names = [value.name for value in values]
    for node in model.graph.node:
        names += node.output
    ranges = dict.fromkeys(names, _UNMEASURED)
    in_int8 = quantised(model, ranges, nodes)
    _write(in_int8, path)


def site_losses(path: Path, scratch: Path, inputs: Int8Inputs) -> Int8Losses:
    """Return the loss of each site of the model at `path` in int8.

    Sites that int8 does not apply to are left out.
    """
    prepared = prepare(path, scratch)
    model = prepared.model
    nodes_by_site: dict[str, list[str]] = {}
    for layer in prepared.layers:
        own_nodes = nodes_by_site.setdefault(layer.site, [])
        own_nodes.append(layer.node)
    ranges = activation_ranges(model, inputs.fitting)
    trial = Trial(model, ranges, inputs.held_out)
    losses = {site: trial.error(nodes) for site, nodes in nodes_by_site.items()}
    nodes = [layer.node for layer in prepared.layers]
    all_survive = not nodes or trial.error(nodes) <= MOST_ERROR
    return Int8Losses(losses, all_survive=all_survive)


def _sites(sites: dict[str, str], nodes: Collection[str]) -> tuple[str, ...]:
    """Return the sites of nodes, each once."""
    own_sites = [sites[node] for node in nodes]
    return tuple(dict.fromkeys(own_sites))


def _write(model: ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())

"""The sites of a model: the nodes with one weight joined, along each execution path.

A node has its own site. Nodes that use the same weight and bias in the same way are calls of one.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from onnx import GraphProto

from worker.engine.formats.onnx import linear
from worker.engine.formats.onnx.graph import all_nodes, fresh_name, number, operator
from worker.engine.formats.onnx.profile.node_site import CountedNode
from worker.engine.formats.onnx.profile.node_use import LAYERS, OPERATORS, NodeUse
from worker.engine.formats.onnx.profile.unaccounted import unaccounted_operators
from worker.engine.model import Call, CostProfile, Site

# Before this opset, operands of different shapes need attributes of their own.
_FIRST_BROADCASTING_OPSET = 7

SHARED = "its weight is shared with nodes that use it differently"
OLD_PRODUCT = "before opset 7 a sum does not broadcast its operands by shape"
SEVERAL_WAYS = "the branches of an If call it on inputs of different sizes"

SiteNodes = Mapping[str, tuple[str, ...]]
"""By the name of a site that can be replaced: the first outputs of the nodes that call it."""


@dataclass
class _Collection:
    """The sites of all execution paths by their keys, while they are collected."""

    paths: list[dict[Hashable, Site]] = field(default_factory=list)
    # dicts with None as values: sets that keep their order
    outputs: dict[Hashable, dict[str, None]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    weight_keys: dict[Hashable, set[Hashable]] = field(
        default_factory=lambda: defaultdict(set)
    )

    def add_path(self, nodes: Iterable[CountedNode], opset: int) -> None:
        """Add the nodes of one execution path."""
        sites: dict[Hashable, Site] = {}
        for counted in nodes:
            use = counted.use
            site = _for_opset(counted.site, opset)
            key = _site_key(use, site)
            if use.operator in LAYERS and use.weight is not None:
                self.weight_keys[use.weight.origin].add(key)
            if site is None:
                continue
            output = use.node.output[0]
            self.outputs[key][output] = None
            earlier = sites.get(key)
            sites[key] = _joined(earlier, site)
        self.paths.append(sites)

    def merged(self) -> dict[Hashable, Site]:
        """Return one site a key, in the order of the first nodes."""
        shared: set[Hashable] = set()
        for keys in self.weight_keys.values():
            if len(keys) > 1:
                shared |= keys
        merged = {}
        for key in self._keys():
            along_paths = [sites.get(key) for sites in self.paths]
            merged[key] = _merged(along_paths, shared=key in shared)
        return merged

    def _keys(self) -> Iterable[Hashable]:
        """Return the keys of all sites, in the order of their first nodes."""
        keys: dict[Hashable, None] = {}
        for sites in self.paths:
            keys.update(dict.fromkeys(sites))
        return keys


def merge_sites(
    graph: GraphProto, paths: Sequence[Sequence[CountedNode]], opset: int
) -> tuple[CostProfile, SiteNodes]:
    """Return a model's cost profile, and the nodes of the sites that can be replaced.

    `graph` is the model's main graph, `paths` the counted nodes along each execution path.
    """
    collection = _Collection()
    for nodes in paths:
        collection.add_path(nodes, opset)
    outputs = collection.outputs
    sites = collection.merged()
    named = list(_named(graph, sites, outputs))
    site_nodes = {}
    for key, site in zip(sites, named, strict=True):
        if site.reason is None:
            site_nodes[site.name] = tuple(outputs[key])
    uncounted = _uncounted(graph, outputs.values())
    unaccounted = unaccounted_operators(paths)
    unsettled = Counter(
        each.operator for each in unaccounted if each.operator in OPERATORS
    )
    return CostProfile(tuple(named), uncounted, unsettled, unaccounted), site_nodes


def _uncounted(graph: GraphProto, counted: Iterable[Iterable[str]]) -> dict[str, int]:
    """Return the number of nodes of each operator that are not counted.

    `counted` holds the first outputs of those that are.
    """
    counted_outputs: set[str] = set()
    for outputs in counted:
        counted_outputs.update(outputs)
    uncounted: Counter[str] = Counter()
    for node in all_nodes(graph.node):
        first_output = node.output[:1]
        if counted_outputs.isdisjoint(first_output):
            uncounted[operator(node)] += 1
    return dict(uncounted)


def _for_opset(site: Site | None, opset: int) -> Site | None:
    """Return a site with a reason to keep it where an opset cannot add the bias of a product."""
    # A site that stays anyway keeps its own reason.
    if site is None or site.reason is not None:
        return site
    is_linear = not site.calls[0].input_size
    if is_linear and opset < _FIRST_BROADCASTING_OPSET:
        return replace(site, reason=OLD_PRODUCT)
    return site


def _site_key(use: NodeUse, site: Site | None) -> Hashable:
    """Return a key that the calls of one site share: weight, bias, and the way they are used."""
    node = use.node
    if site is None or site.reason is not None:
        # A node that is not replaced is a site of its own.
        if node.output:
            return (*node.output, object)
        return object()
    # One weight with two scales is two layers.
    alpha = number(node, "alpha", 1.0)
    beta = number(node, "beta", 1.0)
    scales = (alpha, beta)
    is_transposed = linear.is_transposed(node)
    way = (node.op_type, is_transposed, scales, site.convolution)
    operands = []
    for name in node.input[1:3]:
        constant = use.constants.get(name)
        operands.append(constant and constant.identity)
    return (*operands, way)


def _joined(first: Site | None, site: Site) -> Site:
    """Return a site with the calls of another one."""
    if first is None:
        return site
    macs = first.macs + site.macs
    calls = first.calls + site.calls
    sized_by_values = first.sized_by_values or site.sized_by_values
    return replace(first, macs=macs, calls=calls, sized_by_values=sized_by_values)


def _merged(along_paths: Sequence[Site | None], *, shared: bool) -> Site:
    """Return one site for those along each execution path, None where it is not called."""
    # The dearest path bounds the cost, so it decides.
    called = [site for site in along_paths if site is not None]
    dearest = max(called, key=lambda site: site.macs)
    proportional = [_is_proportional(site.calls, dearest.calls) for site in called]
    are_proportional = all(proportional)
    reason = dearest.reason
    if reason is None and shared:
        reason = SHARED
    if reason is None and not are_proportional:
        reason = SEVERAL_WAYS
    costs: tuple[int, ...] = ()
    # A model without branches has one path, whose cost is the site's own.
    if len(along_paths) > 1:
        costs = tuple(site.macs if site else 0 for site in along_paths)
    sized_by_values = any(site.sized_by_values for site in called)
    return replace(
        dearest,
        reason=reason,
        execution_paths=costs,
        sized_by_values=sized_by_values,
    )


def _is_proportional(calls: Sequence[Call], others: Sequence[Call]) -> bool:
    """Return whether calls have the sizes of others, as often in proportion.

    Then the costs of any replacement have the same proportion.

    >>> once = [Call(1, (8, 8)), Call(1, (4, 4))]
    >>> twice = [Call(1, (8, 8), 2), Call(1, (4, 4), 2)]
    >>> _is_proportional(once, twice), _is_proportional(once[:1], twice)
    (True, False)
    """
    counts = _by_size(calls)
    other_counts = _by_size(others)
    if counts.keys() != other_counts.keys():
        return False
    proportions = set()
    for size, count in counts.items():
        proportions.add(Fraction(count, other_counts[size]))
    return len(proportions) <= 1


def _by_size(calls: Sequence[Call]) -> Counter[Hashable]:
    """Return the number of calls for each batch and spatial size; calls that never run are none.

    >>> _by_size([Call(1, (8, 8)), Call(1, (8, 8), times=2), Call(1, (4, 4), times=0)])
    Counter({(1, (8, 8)): 3})
    """
    counts: Counter[Hashable] = Counter()
    for call in calls:
        if call.times:
            counts[call.batch, call.input_size] += call.times
    return counts


def _named(
    graph: GraphProto,
    sites: Mapping[Hashable, Site],
    outputs: Mapping[Hashable, Iterable[str]],
) -> Iterator[Site]:
    """Yield sites named after their first node, or their weight where that name is not unique."""
    names = {}
    name_counts: Counter[str] = Counter()
    for node in all_nodes(graph.node):
        name_counts[node.name] += 1
        if node.output:
            names[node.output[0]] = node.name
    used: set[str] = set()
    for key, site in sites.items():
        first_output = next(iter(outputs[key]))
        name = names[first_output]
        if not name or name_counts[name] != 1:
            name = site.name
        yield replace(site, name=fresh_name(name, used))

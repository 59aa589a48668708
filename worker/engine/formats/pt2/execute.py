"""Run the graph of an exported program node by node, with some of its contents known before."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.fx import Graph, Node
from torch.fx.node import map_arg

from worker.engine.formats.pt2.graph import copying, is_check

Arguments = Callable[[Any], Any]
"""Changes the arguments of operators, such as their device."""
RunBranch = Callable[[Graph], Any]


class Conditional:
    """A torch.cond as the target of a node, whose arguments are a predicate and the operands.

    Its branches are graphs that take the operands.
    """

    def __init__(self, if_true: Graph, if_false: Graph) -> None:
        self.if_true = if_true
        self.if_false = if_false
        self.__name__ = "cond"

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401 - whatever flows through the graph
        """Return the result of the branch that the predicate says."""
        return run_conditional(self, args, lambda call: call, by_predicate)


Choice = Callable[[Conditional, Any, RunBranch], Any]
"""Returns the result of a branch from the predicate; the third argument runs a branch."""


def by_predicate(
    conditional: Conditional,
    predicate: Any,  # noqa: ANN401 - whatever flows through the graph
    run_branch: RunBranch,
) -> Any:  # noqa: ANN401 - whatever flows through the graph
    """Return the result of the branch that the predicate says."""
    return run_branch(conditional.if_true if predicate else conditional.if_false)


def run(
    graph: Graph,
    contents: Mapping[str, Any],
    arguments: Arguments,
    choice: Choice = by_predicate,
) -> tuple[Any, ...]:
    """Return the graph's outputs; `contents` are those of placeholders and of other known nodes.

    Checks of sizes and types are left out.
    """
    values: dict[Node, Any] = {}
    last_users = _last_users(graph)
    for node in graph.nodes:
        if node.name in contents:
            values[node] = contents[node.name]
        elif node.op == "output":
            return tuple(map_arg(node.args[0], values.__getitem__))
        elif not is_check(node):
            call = map_arg((node.args, node.kwargs), values.__getitem__)
            args, kwargs = arguments(call)
            if isinstance(node.target, Conditional):
                values[node] = run_conditional(node.target, args, arguments, choice)
            else:
                values[node] = copying(node.target)(*args, **kwargs)
        for unneeded in last_users.get(node, ()):
            values.pop(unneeded, None)
    raise ValueError("the graph has no output")


def run_conditional(
    conditional: Conditional, args: Sequence[Any], arguments: Arguments, choice: Choice
) -> Any:  # noqa: ANN401 - whatever flows through the graph
    """Return the result of a torch.cond on its predicate and its operands."""
    predicate, *operands = args

    def run_branch(branch: Graph) -> Any:  # noqa: ANN401 - as above
        names = [node.name for node in branch.find_nodes(op="placeholder")]
        contents = dict(zip(names, operands, strict=True))
        return run(branch, contents, arguments, choice)

    return choice(conditional, predicate, run_branch)


def _last_users(graph: Graph) -> dict[Node, list[Node]]:
    """Return the nodes that each node is the last to use."""
    last: dict[Node, Node] = {}
    for node in graph.nodes:
        for each in node.all_input_nodes:
            last[each] = node
    users: dict[Node, list[Node]] = {}
    for node, user in last.items():
        users.setdefault(user, []).append(node)
    return users

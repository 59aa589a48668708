"""How an ONNX model hangs together: nodes in no circle, functions that call each other not too often."""

from collections.abc import Iterable, Mapping

from convpress.gate.archive import invalid, over_limit
from convpress.gate.onnx.wire import shown
from convpress.limits import Limits

Id = tuple[bytes, bytes, bytes]
"""What names a local function: domain, name, overload."""


class Body:
    """What a graph or function comes to: its own nodes, and its calls of other operators, each with its number."""

    def __init__(self) -> None:
        self.nodes = 0
        self.calls: dict[Id, int] = {}


def require_order(nodes: list[tuple[set[bytes], list[bytes]]], where: str) -> None:
    """Check that no node needs what it helps to make; each is given by the names that it reads and makes.

    Raises:
        Refusal: `model_invalid`.
    """
    maker = {name: index for index, (_, makes) in enumerate(nodes) for name in makes if name}
    needs = [{maker[name] for name in reads if name in maker} for reads, _ in nodes]
    if all(max(needed, default=-1) < index for index, needed in enumerate(needs)):
        return  # in order already, as nearly all are
    users: list[list[int]] = [[] for _ in nodes]
    for index, needed in enumerate(needs):
        for other in needed:
            users[other].append(index)
    waiting = [len(needed) for needed in needs]
    ready = [index for index, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        done += 1
        for user in users[ready.pop()]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    if done != len(nodes):
        raise invalid(f"{len(nodes) - done} nodes of {where} need each other's outputs")


def bound_calls(main: Body, functions: Mapping[Id, Body], limits: Limits) -> None:
    """Check that functions call each other without cycles, not too deeply, and stand for not too many nodes.

    Raises:
        Refusal: `model_invalid` or `model_over_limit`.
    """
    known: dict[Id, tuple[int, int]] = {}  # depth and nodes of a function with all that it calls

    def measure(body: Body, depths: Iterable[tuple[int, int, int]]) -> tuple[int, int]:
        deepest, nodes = 0, body.nodes
        for count, depth, inner in depths:
            deepest, nodes = max(deepest, depth), nodes + count * inner
        if deepest >= limits.nesting:
            raise over_limit(
                f"functions call functions {deepest} deep", f"at most {limits.nesting}"
            )
        if nodes > limits.nodes:
            raise over_limit(
                "the model's functions stand for too many nodes", f"at most {limits.nodes} nodes"
            )
        return deepest + 1, nodes

    open_calls: set[Id] = set()
    stack = list(functions)
    while stack:
        name = stack[-1]
        if name in known:
            stack.pop()
            continue
        calls = {
            called: count for called, count in functions[name].calls.items() if called in functions
        }
        missing = [called for called in calls if called not in known]
        if not missing:
            known[name] = measure(
                functions[name], ((count, *known[called]) for called, count in calls.items())
            )
            open_calls.discard(name)
            stack.pop()
            continue
        open_calls.add(name)
        if open_calls.intersection(missing):
            raise invalid(f"the function {shown(name[1])} calls itself")
        stack += missing
    measure(
        main, ((count, *known[called]) for called, count in main.calls.items() if called in known)
    )

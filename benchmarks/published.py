"""What becomes of models that others have published: at full rank, and at a budget.

    python benchmarks/published.py MODEL[@SHAPE] ... [--flops-budget 0.6] [--calibration none]
        [--output figures.json]
    python benchmarks/published.py --cache CACHE [--kinds exported packaged debian]
        [--only PART ...] [--seconds 300] [--again]

SHAPE is an input shape as jobs take it. CACHE holds what `zoo/export.py` and `zoo/packages.py`
wrote. Each model is checked in a process of limited time:

1. Its multiply-accumulates are those that an independent counter finds (`zoo/counters.py`).
2. Rewritten with every layer in its first form at full rank, it gives the same outputs on the same
   inputs, of another batch too, and declares the same inputs and outputs.
3. Compressed to the budget, it keeps it by the independent counter.

A row a model says how many layers could be replaced, the largest difference at full rank, and what
the budget came to or why not. The reasons for what was left are listed below, and all that is
wrong. With a cache, rows are kept in `CACHE/checked.jsonl`, and only new models are tried.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from zoo import cases
from zoo.check import Case, checked
from zoo.child import in_child

from worker.engine.formats import ADAPTERS

FORMS = ("traced", "scripted", "legacy", "dynamo", "program")
"""The forms that `zoo/export.py` writes."""

HEADER = (
    "| model | MMACs | paths | layers | replaced | difference at full rank | kept | error | s |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def tried(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a model's row, from a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        work = partial(
            checked, case, arguments.flops_budget, arguments.calibration, Path(scratch)
        )
        row = in_child(work, arguments.seconds, quiet=True)
    if "error" in row and "model" not in row:
        row |= {"model": case.name, "refused": row["error"], "wrong": [row["error"]]}
    return row


def named(arguments: Sequence[str]) -> Iterator[Case]:
    """Yield the cases of a command line: MODEL[@SHAPE] each."""
    for argument in arguments:
        name, _, shape = argument.partition("@")
        yield Case(Path(name).name, Path(name), shape or None)


def line_of(row: dict[str, Any]) -> str:
    """Return the row of a model in the table."""
    if "sites" not in row:
        return f"| {row['model']} | | | | | | {row['refused']} | | |"
    ending = row.get("refused", "") + " | "
    if "keep" in row:
        error = row["error"]
        ending = f"{row['keep']:.3f} | " + ("" if error is None else f"{error:.3f}")
    difference = row["difference"]
    apart = "not comparable" if difference is None else f"{difference:.1e}"
    seconds = row.get("seconds", 0) + row.get("compress_seconds", 0)
    return (
        f"| {row['model']} | {row['macs'] / 1e6:.3f} | {row['paths']} | {row['sites']} | "
        f"{row['replaced']} | {apart} | {ending} | {seconds:.1f} |"
    )


def group_of(row: dict[str, Any]) -> str:
    """Return the origin of a model: library and form, Debian's test data, or a package.

    >>> group_of({"model": "timm/test_vit traced"}), group_of({"model": "silero-vad/a.onnx"})
    ('timm, traced', 'packages')
    """
    library, _, rest = row["model"].partition("/")
    _, _, form = rest.rpartition(" ")
    if form in FORMS:
        return f"{library}, {form}"
    return library if library == "libonnx-testdata" else "packages"


def by_group(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of the outcomes, a row for each group of models."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(group_of(row), []).append(row)
    lines = [
        "| models | number | counted, by another counter too | layers | replaced "
        "| kept the budget | not, with the reason | wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, members in sorted(groups.items()):
        others = [{row.get("oracle_macs"), row.get("exported_macs")} for row in members]
        agreed = sum(
            row.get("macs", -1) in each
            for row, each in zip(members, others, strict=True)
        )
        refused = Counter(
            row["refused"].partition(":")[0] for row in members if "refused" in row
        )
        reasons = ", ".join(
            f"{number} {code}" for code, number in refused.most_common()
        )
        lines.append(
            f"| {name} | {len(members)} | {agreed} "
            f"| {sum(row.get('sites', 0) for row in members)} "
            f"| {sum(row.get('replaced', 0) for row in members)} "
            f"| {sum('keep' in row for row in members)} | {reasons} "
            f"| {sum(bool(row['wrong']) for row in members)} |"
        )
    return "\n".join(lines)


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return the outcomes with their number, the reasons for what was left, and what is wrong."""
    outcomes: Counter[str] = Counter()
    left: dict[str, list[str]] = {}
    for row in rows:
        outcomes[
            "kept its budget" if "keep" in row else row["refused"].partition(":")[0]
        ] += 1
        for reason in row.get("reasons", {}):
            left.setdefault(reason, []).append(row["model"])
    lines = [
        f"{number} models: {outcome}" for outcome, number in outcomes.most_common()
    ]
    for reason, models in sorted(left.items(), key=lambda item: -len(item[1])):
        lines.append(
            f"{len(models)} models have layers left: {reason} ({models[0]} ...)"
        )
    for row in rows:
        lines += [
            f"incomplete: {row['model']}: {each}" for each in row.get("unaccounted", [])
        ]
    for row in rows:
        lines += [f"WRONG: {row['model']}: {sentence}" for sentence in row["wrong"]]
    return "\n".join(lines)


def _new(every: Iterable[Case], done: set[str], parts: Sequence[str]) -> Iterator[Case]:
    for case in every:
        is_asked_for = not parts or any(part in case.name for part in parts)
        if is_asked_for and case.name not in done:
            yield case


def _in_cache(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Check the new models of a cache, and return the rows of all."""
    record = arguments.cache / "checked.jsonl"
    rows: dict[str, dict[str, Any]] = {}
    if record.exists():
        for line in record.read_text().splitlines():
            row = json.loads(line)
            rows[row["model"]] = row
    done = set() if arguments.again else set(rows)
    for kind in arguments.kinds:
        for case in _new(cases.KINDS[kind](arguments.cache), done, arguments.only):
            row = tried(case, arguments)
            rows[case.name] = row
            with record.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            print(line_of(row), *row["wrong"], flush=True)
    return list(rows.values())


def _load_libraries() -> None:
    """Import what the children need, so that they need not."""
    for name in (
        "torch._dynamo",
        "worker.engine.calibration.calibrate",
        *ADAPTERS.values(),
    ):
        import_module(name)


def main() -> None:
    """Try the models that are named, print a table and the reasons, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL[@SHAPE]")
    parser.add_argument("--flops-budget", default="0.6")
    parser.add_argument("--calibration", choices=["none", "synthetic"], default="none")
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    parser.add_argument(
        "--cache", type=Path, help="the folder of exported and packaged models"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=list(cases.KINDS), default=list(cases.KINDS)
    )
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument(
        "--again", action="store_true", help="try also what was tried before"
    )
    parser.add_argument(
        "--seconds", type=int, default=300, help="of the processor, a model"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _load_libraries()
    print(HEADER)
    rows = []
    if arguments.cache is not None:
        rows = _in_cache(arguments)
    for case in named(arguments.models):
        row = tried(case, arguments)
        rows.append(row)
        print(line_of(row), flush=True)
    print(by_group(rows))
    print(summary(rows))
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1))
    sys.exit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    main()

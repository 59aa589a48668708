"""Whether a model costs the same in every format: multiply-accumulates of exported architectures.

    python benchmarks/counts.py CACHE [--only PART ...] [--seconds 120]

CACHE is what `zoo/export.py` wrote. Each file is opened and counted by the product, in a process of
limited time. A row an architecture has torch's own count of the module, and those of the files of
each format. Where they differ, the row names the operators whose totals do. A table by library says
how many programs count as the files of other formats. Counts are kept in `CACHE/counts.jsonl`, and
only new files are counted.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from zoo import cases
from zoo.check import Case, input_shape_of
from zoo.child import in_child

from convpress.bundling import bundled
from convpress.gate.identify import identify
from convpress.shapes import parse_input_shape
from worker.engine.formats import open_model, readable

COLUMNS = ("traced", "scripted", "legacy", "dynamo", "program")
HEADER = (
    "| architecture | torch | TorchScript, traced | scripted | ONNX, legacy | dynamo | .pt2 "
    "| differs in |\n|---|---|---|---|---|---|---|---|"
)
# How formats name the same products.
_KINDS = {
    "Conv": "convolutions",
    "conv1d": "convolutions",
    "conv2d": "convolutions",
    "conv3d": "convolutions",
    "ConvTranspose": "transposed convolutions",
    "conv_transpose1d": "transposed convolutions",
    "conv_transpose2d": "transposed convolutions",
    "conv_transpose3d": "transposed convolutions",
}
_PRODUCTS = "products of matrices"


def counted(case: Case) -> dict[str, Any]:
    """Return the multiply-accumulates of a file, in all and by kind of operator."""
    model_format = identify(case.path)
    with bundled(case.path) as file, readable(model_format, file) as source:
        model = open_model(model_format, source)
        shape = input_shape_of(model, case.arguments)
        profile = model.count(model.bind(parse_input_shape(shape)))
    kinds: Counter[str] = Counter()
    for site in profile.sites:
        kinds[_KINDS.get(site.op, _PRODUCTS)] += site.macs
    return {
        "macs": profile.macs,
        "kinds": kinds,
        "is_complete": not profile.unaccounted and not profile.unsettled,
    }


def rows_of(
    torch_macs: Mapping[str, int], counts: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, bool]]:
    """Yield a row an architecture, and whether all of its formats count the same.

    Files go by name: `library/architecture form`.
    """
    by_architecture: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, row in counts.items():
        architecture, _, form = name.rpartition(" ")
        by_architecture.setdefault(architecture, {})[form] = row
    for architecture, forms in sorted(by_architecture.items()):
        own = torch_macs[architecture]
        cells = [_cell(forms.get(form)) for form in COLUMNS]
        differing = _differing(forms, own)
        yield (
            f"| {architecture} | {own} | {' | '.join(cells)} | {differing} |",
            not differing,
        )


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if "error" in row:
        return str(row["error"])[:60]
    mark = "" if row["is_complete"] else " and more"
    return f"{row['macs']}{mark}"


def _differing(forms: Mapping[str, Mapping[str, Any]], own: int) -> str:
    """Return the kinds of operators whose totals differ between forms, with the difference."""
    complete = {form: row for form, row in forms.items() if "error" not in row}
    if {row["macs"] for row in complete.values()} <= {own}:
        return ""
    program = complete.get("program")
    if program is None:
        return "torch's count of the module"
    sentences = []
    for form, row in complete.items():
        for kind in sorted({*row["kinds"], *program["kinds"]}):
            more = row["kinds"].get(kind, 0) - program["kinds"].get(kind, 0)
            if more:
                sentences.append(f"{form}: {more:+} in {kind}")
    return "; ".join(sentences) or f"torch counts {own - program['macs']:+}"


def by_library(
    torch_macs: Mapping[str, int], counts: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return a table of the programs, by what else of the same model counts as many.

    A format that could not be exported or not be opened is no other count.
    """
    tables: dict[str, Counter[str]] = {}
    for name, row in counts.items():
        architecture, _, form = name.rpartition(" ")
        if form != "program":
            continue
        totals = tables.setdefault(name.partition("/")[0], Counter())
        totals["number"] += 1
        totals["torch"] += row.get("macs") == torch_macs[architecture]
        same = {
            column
            for column in COLUMNS
            if counts.get(f"{architecture} {column}", {}).get("macs") == row.get("macs")
        }
        has_torchscript = bool(same & {"traced", "scripted"})
        has_onnx = bool(same & {"legacy", "dynamo"})
        totals["torchscript"] += has_torchscript
        totals["onnx"] += has_onnx
        totals["both"] += has_torchscript and has_onnx
    lines = [
        "| .pt2 of | number | as torch | as TorchScript | as ONNX | as both |",
        "|---|---|---|---|---|---|",
    ]
    for library, totals in sorted(tables.items()):
        cells = " | ".join(
            str(totals[key])
            for key in ("number", "torch", "torchscript", "onnx", "both")
        )
        lines.append(f"| {library} | {cells} |")
    return "\n".join(lines)


def _cases(cache: Path, parts: Sequence[str]) -> Iterator[Case]:
    for case in cases.exported(cache):
        if not parts or any(part in case.name for part in parts):
            yield case


def main() -> None:
    """Count the new files of a cache, and print the table and a summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument(
        "--seconds", type=int, default=120, help="of the processor, a file"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record = arguments.cache / "counts.jsonl"
    counts: dict[str, dict[str, Any]] = {}
    if record.exists():
        for line in record.read_text().splitlines():
            row = json.loads(line)
            counts[row.pop("model")] = row
    torch_macs = {}
    for case in _cases(arguments.cache, arguments.only):
        torch_macs[case.name.rpartition(" ")[0]] = case.macs
        if case.name not in counts:
            row = in_child(partial(counted, case), arguments.seconds, quiet=True)
            row.pop("traceback", None)
            counts[case.name] = row
            with record.open("a") as lines:
                lines.write(json.dumps({"model": case.name} | row) + "\n")
    asked = {
        name: row
        for name, row in counts.items()
        if name.rpartition(" ")[0] in torch_macs
    }
    rows = list(rows_of(torch_macs, asked))
    print(HEADER)
    for row, _ in rows:
        print(row)
    print(by_library(torch_macs, asked))
    same = sum(is_same for _, is_same in rows)
    print(f"{same} of {len(rows)} architectures count the same in all forms")


if __name__ == "__main__":
    main()

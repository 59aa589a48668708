"""Write architectures of torchvision, timm and transformers as TorchScript, ONNX and .pt2 files.

    ZOO/bin/python benchmarks/zoo/export.py CACHE [--only NAME ...] [--forms traced ...]
        [--seconds 300]

ZOO is an environment of its own (see `zoo/__init__.py`). Each architecture has random weights. It
is traced, scripted, exported by both of torch's ONNX exporters, and saved as a program of
torch.export; a child process makes each file. A line of `CACHE/exported.jsonl` records each file,
or why there is none. What is there already is not made again.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import torch
from support.torchscript.counting_oracle import counted_by_torch
from torch import nn

from zoo import timm_models, torchvision_models, transformers_models
from zoo.architecture import Architecture, Builder
from zoo.child import in_child

FORMS = ("traced", "scripted", "legacy", "dynamo", "program")
_SUFFIXES = {
    "traced": ".pt",
    "scripted": ".pt",
    "legacy": ".onnx",
    "dynamo": ".onnx",
    "program": ".pt2",
}
_NEAR_ZERO = 1e-3
_LIBRARIES: dict[str, dict[str, Builder]] = {
    "torchvision": torchvision_models.ARCHITECTURES,
    "timm": timm_models.ARCHITECTURES,
    "transformers": transformers_models.ARCHITECTURES,
}


def _leave_no_zeros(module: nn.Module) -> None:
    """Draw weights that start at 0 or near it: they would hide a branch that is wrong."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias") or float(parameter.detach().abs().max()) >= _NEAR_ZERO:
            continue
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.1)
        else:
            nn.init.uniform_(parameter, 0.2, 1.0)


def trace(architecture: Architecture, path: Path) -> None:
    """Trace a module, as it runs in inference."""
    with torch.no_grad():
        traced = torch.jit.trace(
            architecture.module, tuple(architecture.inputs.values()), check_trace=False
        )
    traced.save(str(path))


def script(architecture: Architecture, path: Path) -> None:
    """Script a module, where its code can be scripted."""
    torch.jit.script(architecture.module).save(str(path))


def export_legacy(architecture: Architecture, path: Path) -> None:
    """Export a module by the exporter that traces it into TorchScript."""
    free = {name: {0: "batch"} for name in architecture.inputs}
    # with gradients on: it knows no operator for the fast path of attention
    torch.onnx.export(
        architecture.module,
        tuple(architecture.inputs.values()),
        str(path),
        dynamo=False,
        input_names=list(architecture.inputs),
        dynamic_axes=free if architecture.free_batch else None,
        opset_version=17,
    )


def export_dynamo(architecture: Architecture, path: Path) -> None:
    """Export a module by the exporter that is torch's default."""
    free = [{0: torch.export.Dim("batch")} for _ in architecture.inputs]
    # *arguments of a wrapper are one argument to the exporter
    shapes = (tuple(free),) if _is_variadic(architecture.module) else tuple(free)
    with torch.no_grad():
        torch.onnx.export(
            architecture.module,
            tuple(architecture.inputs.values()),
            str(path),
            dynamo=True,
            input_names=list(architecture.inputs),
            dynamic_shapes=shapes if architecture.free_batch else None,
            verbose=False,
        )


def export_program(architecture: Architecture, path: Path) -> None:
    """Export a module by torch.export, with a free batch where its code leaves one."""
    try:
        program = _exported(architecture, free_batch=architecture.free_batch)
    except (torch._dynamo.exc.UserError, ValueError, RuntimeError):
        if not architecture.free_batch:
            raise
        # its code fixes the batch: the file says so
        program = _exported(architecture, free_batch=False)
    torch.export.save(program, path)


def _exported(
    architecture: Architecture, *, free_batch: bool
) -> torch.export.ExportedProgram:
    tensors = tuple(architecture.inputs.values())
    if not free_batch:
        with torch.no_grad():
            return torch.export.export(architecture.module, tensors)
    # torch.export takes a size of 1 for a constant
    pairs = tuple(torch.cat([tensor, tensor]) for tensor in tensors)
    batch = torch.export.Dim("batch", min=1)
    free = tuple({0: batch} for _ in tensors)
    shapes = (free,) if _is_variadic(architecture.module) else free
    with torch.no_grad():
        return torch.export.export(architecture.module, pairs, dynamic_shapes=shapes)


def _is_variadic(module: nn.Module) -> bool:
    return bool(module.forward.__code__.co_flags & 0x04)


_EXPORTERS: dict[str, Callable[[Architecture, Path], None]] = {
    "traced": trace,
    "scripted": script,
    "legacy": export_legacy,
    "dynamo": export_dynamo,
    "program": export_program,
}


def make(
    library: str, name: str, form: str, folder: Path, known_macs: int | None
) -> dict[str, Any]:
    """Build an architecture, and write it in one form; return the line of the record."""
    torch.manual_seed(0)
    architecture = _LIBRARIES[library][name]()
    architecture.module.eval()
    _leave_no_zeros(architecture.module)
    path = folder / f"{library}-{name}-{form}{_SUFFIXES[form]}"
    macs = known_macs
    if macs is None:
        macs = counted_by_torch(architecture.module, *architecture.inputs.values())
    started = time.process_time()
    _EXPORTERS[form](architecture, path)
    return {
        "file": path.name,
        "seconds": round(time.process_time() - started, 1),
        "macs": macs,
        "inputs": [_described(tensor) for tensor in architecture.inputs.values()],
    }


def _described(tensor: torch.Tensor) -> str:
    return (
        f"{str(tensor.dtype).removeprefix('torch.')}:{'x'.join(map(str, tensor.shape))}"
    )


def main() -> None:
    """Make the files that the arguments name and that are not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    parser.add_argument(
        "--only", nargs="+", default=[], help="parts of names: torchvision/resnet"
    )
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument(
        "--seconds", type=int, default=300, help="of the processor, for a file"
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder = arguments.cache / "exported"
    folder.mkdir(parents=True, exist_ok=True)
    record = arguments.cache / "exported.jsonl"
    rows = []
    if record.exists():
        rows = [json.loads(line) for line in record.read_text().splitlines()]
    done = {(row["library"], row["architecture"], row["form"]) for row in rows}
    macs = {(row["library"], row["architecture"]): row.get("macs") for row in rows}
    for form in arguments.forms:
        for library, name in _names(arguments.only):
            if (library, name, form) in done:
                continue
            row = {"library": library, "architecture": name, "form": form}
            work = partial(make, library, name, form, folder, macs.get((library, name)))
            row |= in_child(work, arguments.seconds, quiet=True)
            row.pop("traceback", None)
            macs.setdefault((library, name), row.get("macs"))
            with record.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            print(f"{library}/{name} {form}: {row.get('error', 'done')}", flush=True)


def _names(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the library and the name of each architecture that has one of these parts in it."""
    for library, architectures in _LIBRARIES.items():
        for name in architectures:
            if not parts or any(part in f"{library}/{name}" for part in parts):
                yield library, name


if __name__ == "__main__":
    main()

"""Files of formats that we do not take: each kind by its name, with what to send instead.

A line of a table is one kind: its name, the advice, and how its bytes or members are recognised.
"""

from collections.abc import Callable
from dataclasses import dataclass

from convpress.formats import EXPECTED, EXPORTERS, FIELD, LABELS
from convpress.gate.container import Container
from convpress.gate.signs import (
    begins,
    begins_after,
    has,
    is_core_ml,
    is_graph_def,
    is_path,
    is_safetensors,
    is_saved_model,
    is_tensorrt,
    is_text,
)
from convpress.refusal import Code, Refusal

_AGAIN = f"export the original network again, to {LABELS}"
_IN_TORCH = f"load it into its PyTorch module, and export that with {EXPORTERS}"
_TO_ONNX = "convert it with `python -m tf2onnx.convert {} --output model.onnx`"
_SAVE_PROGRAM = "send the exported program, as torch.export.save writes it"
_OLDEST_MEMBERS = (b"sys_info", b"pickle", b"storages", b"tensors")
_UNPACK = (
    "unpack it, and send the model, or a plain zip or tar archive of it and its weights"
)


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name with an article, what to do, and how it is recognised.

    `is_model` tells a model of another format from a file that is none.
    """

    name: str
    advice: str
    recognise: Callable[[Container], bool]
    is_model: bool = True


def refuse_file(file: Container) -> None:
    """Refuse a file of a known kind by its bytes.

    Raises:
        Refusal: `model_unsupported` for a model of another format, `model_unrecognised` for a file
            that is no model.
    """
    _refuse(file, FILES)


def refuse_archive(file: Container) -> None:
    """Refuse a zip archive of a known kind by the names of its members.

    Raises:
        Refusal: the codes of `refuse_file`.
    """
    _refuse(file, ARCHIVES)


def _refuse(file: Container, kinds: tuple[Kind, ...]) -> None:
    for kind in kinds:
        if kind.recognise(file):
            raise Refusal(
                Code.MODEL_UNSUPPORTED if kind.is_model else Code.MODEL_UNRECOGNISED,
                f"the file is {kind.name}: {kind.advice}",
                field=FIELD,
                expected=EXPECTED,
                got=f"{kind.name}, {len(file.content)} bytes",
            )


FILES: tuple[Kind, ...] = (
    # Models of other formats.
    Kind(
        "a safetensors file",
        f"it has weights and no network; {_IN_TORCH}",
        is_safetensors,
    ),
    Kind(
        "an HDF5 file, as Keras writes it",
        "load it in Keras, and export it with tf2onnx.convert.from_keras(model, "
        'output_path="model.onnx")',
        begins(b"\x89HDF\r\n\x1a\n"),
    ),
    Kind(
        "a TensorFlow Lite model",
        _TO_ONNX.format("--tflite model.tflite"),
        begins_after(4, b"TFL3", b"TFL2"),
    ),
    Kind(
        "a TensorRT engine",
        f"it is compiled for one GPU; send the ONNX model that it was built from, or {_AGAIN}",
        is_tensorrt,
    ),
    Kind("a Core ML model", f"it cannot be converted back; {_AGAIN}", is_core_ml),
    Kind(
        "a TensorFlow SavedModel without its folder",
        _TO_ONNX.format("--saved-model FOLDER"),
        is_saved_model,
    ),
    Kind(
        "a TensorFlow graph (GraphDef)",
        _TO_ONNX.format("--graphdef model.pb --inputs NAME:0 --outputs NAME:0"),
        is_graph_def,
    ),
    Kind(
        "a GGUF or GGML file",
        f"it has weights for llama.cpp and no network; {_AGAIN}",
        begins(b"GGUF", b"tjgg", b"fmgg", b"lmgg"),
    ),
    Kind(
        "an ExecuTorch program (.pte)",
        f"it is compiled for devices; {_SAVE_PROGRAM}",
        begins_after(4, b"ET10", b"ET11", b"ET12", b"ET13"),
    ),
    Kind(
        "a model in ONNX Runtime's own format (ORT)",
        "send the .onnx file that it was made from",
        begins_after(4, b"ORTM"),
    ),
    Kind(
        "an NCNN model",
        f"send the ONNX or TorchScript file that it was converted from, or {_AGAIN}",
        begins(b"7767517\n", b"7767517\r", b"7767517 ", b"\xdd\x85\x76\x00"),
    ),
    Kind("an RKNN model", f"it is compiled for one chip; {_AGAIN}", begins(b"RKNN")),
    Kind(
        "an OpenVINO model",
        f"send the ONNX or TorchScript file that it was converted from, or {_AGAIN}",
        is_text(r"(<\?xml[^>]*>\s*)?<net\s[^>]*name="),
    ),
    Kind(
        "a PyTorch checkpoint of version 0.1, a tar archive",
        f"it has weights and no network; {_IN_TORCH}",
        begins(*(name + bytes(100 - len(name)) for name in _OLDEST_MEMBERS)),
    ),
    # What is no model.
    Kind(
        "a Git LFS pointer, and not the file that it points to",
        "run `git lfs pull` in the repository, and send the file then",
        begins(
            b"version https://git-lfs.github.com/spec/",
            b"version https://hawser.github.com/",
        ),
        is_model=False,
    ),
    Kind(
        "a web page (HTML)",
        "a download gave a page instead of the file, maybe to sign in; download the file itself",
        is_text(r"(<\?xml[^>]*>\s*)?<(!doctype\s+html|html|head|body)\b|<!--"),
        is_model=False,
    ),
    Kind("an XML text", f"{_AGAIN}", is_text(r"<\?xml\b"), is_model=False),
    Kind(
        "a JSON text",
        f"it describes a model at most; {_AGAIN}",
        is_text(r'\{\s*("|\})|\[\s*(["\[{\]\d-])'),
        is_model=False,
    ),
    Kind(
        "only the name or address of a file, as text",
        "send the content of that file, with curl by -F model=@model.onnx",
        is_path,
        is_model=False,
    ),
    Kind("compressed by gzip", _UNPACK, begins(b"\x1f\x8b"), is_model=False),
    Kind("compressed by bzip2", _UNPACK, begins(b"BZh"), is_model=False),
    Kind("compressed by xz", _UNPACK, begins(b"\xfd7zXZ\0"), is_model=False),
    Kind(
        "compressed by Zstandard", _UNPACK, begins(b"\x28\xb5\x2f\xfd"), is_model=False
    ),
    Kind("compressed by LZ4", _UNPACK, begins(b"\x04\x22\x4d\x18"), is_model=False),
    Kind("a 7-Zip archive", _UNPACK, begins(b"7z\xbc\xaf\x27\x1c"), is_model=False),
    Kind("a RAR archive", _UNPACK, begins(b"Rar!\x1a\x07"), is_model=False),
    Kind(
        "an empty zip archive",
        "pack the model, and the files with its weights",
        begins(b"PK\x05\x06"),
        is_model=False,
    ),
    Kind(
        "an array of NumPy's (.npy)",
        "send it as `samples`, together with a model",
        begins(b"\x93NUMPY"),
        is_model=False,
    ),
    Kind(
        "a picture",
        "send the model here, and inputs as `samples` (.npz or .npy)",
        begins(b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8"),
        is_model=False,
    ),
    Kind("a PDF document", _AGAIN, begins(b"%PDF-"), is_model=False),
    Kind(
        "a program or a library",
        f"a compiled network cannot be opened; {_AGAIN}",
        begins(b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe"),
        is_model=False,
    ),
    Kind("a text", _AGAIN, is_text(r"\S"), is_model=False),
)
"""Kinds of files that are no zip archives; the first that recognises a file names it."""

ARCHIVES: tuple[Kind, ...] = (
    Kind(
        "a package of AOTInductor (.pt2)",
        f"it is compiled for one kind of machine; {_SAVE_PROGRAM}",
        has(r"data/aotinductor/.+"),
    ),
    Kind(
        "a package of ExecuTorch or MTIA (.pt2)",
        f"it is compiled for devices; {_SAVE_PROGRAM}",
        has(r"data/(executorch/|mtia).*"),
    ),
    Kind(
        "a program of torch.export as torch 2.8 and older save it (.pt2)",
        "load it by torch.export.load in that version, and export the network again in torch 2.9 "
        "or newer, by torch.export.export and torch.export.save",
        has(r"serialized_exported_program\.json"),
    ),
    Kind(
        "an archive of torch.export without a program (.pt2)",
        _SAVE_PROGRAM,
        has(r"archive_format|models/[^/]+\.json"),
    ),
    Kind(
        "a TorchScript archive of torch 1.2 or older",
        "load it by torch.jit.load, save it again by torch.jit.save, and send that file",
        has(r"model\.json", r"code/.+\.py", r"tensors/.+|attributes\.pkl"),
    ),
    Kind(
        "a Keras model (.keras)",
        "load it in Keras, and export it with tf2onnx.convert.from_keras(model, "
        'output_path="model.onnx")',
        has(r"config\.json", r"[^/]*weights\.h5|metadata\.json"),
    ),
    Kind(
        "a TensorFlow SavedModel",
        _TO_ONNX.format("--saved-model FOLDER"),
        has(r"saved_model\.pb(txt)?"),
    ),
    Kind(
        "a Core ML model (.mlpackage)",
        f"it cannot be converted back; {_AGAIN}",
        has(r"Manifest\.json", r"[^/]+\.mlmodel"),
    ),
    Kind(
        "an archive of a PyTorch file",
        "send the file itself, without an archive around it",
        has(r"[^/]+\.(pt|pt2|pth|ts|torchscript|ckpt)"),
        is_model=False,
    ),
    Kind(
        "an archive of weights without a network",
        _IN_TORCH,
        has(r"[^/]+\.(safetensors|gguf)|pytorch_model[^/]*\.bin"),
    ),
    Kind(
        "an archive of a TensorFlow or Keras model",
        "export that to ONNX with tf2onnx",
        has(r"[^/]+\.(tflite|h5|hdf5|keras|pb)"),
    ),
    Kind(
        "an OpenVINO or NCNN model",
        f"send the ONNX or TorchScript file that it was converted from, or {_AGAIN}",
        has(r"[^/]+\.(xml|param)", r"[^/]+\.bin"),
    ),
    Kind(
        "a file of arrays of NumPy's (.npz)",
        "send it as `samples`, together with a model",
        has(r"[^/]+\.npy"),
        is_model=False,
    ),
)
"""Kinds of zip archives, by their members, where no format recognises them."""

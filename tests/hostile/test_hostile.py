"""Each wall alone stops the hostile files of its classes; together they protect the service."""

import time
from contextlib import nullcontext
from pathlib import Path

import fuzz
import pytest
import walls
from corpus import THREATS, corpus
from opened import opened, world

from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Refusal
from worker.sandbox import launcher

FILES = corpus(Path("/nowhere"))
QUICK = [
    "torchscript: setstate-writes-a-mapped-file",
    "torchscript: setstate-saves-a-file",
    "onnx: weights-in-an-absolute-path",
    "onnx: network-that-fills-all-memory",
    "program: reads-a-file",
    "program: calls-by-udp",
    "program: fork-bomb",
    "program: leaves-a-daemon",
    "program: lifts-its-limits",
    "program: nests-folders-without-end",
]

COSTLY = [
    f"torchscript: source-of-{name}"
    for name in (
        "assignments-in-a-row",
        "attributes-in-a-row",
        "branches-in-a-row",
        "choices-in-a-row",
        "conjunctions-in-a-row",
        "endless-words",
        "indices-in-a-row",
        "methods-in-a-row",
        "negations-in-a-row",
        "sums-over-lines",
    )
]
COSTLY += [
    "torchscript: constants-of-giant-number",
    "torchscript: pickle-of-endless-steps",
    "torchscript: archive-of-countless-members",
    "torchscript: type-of-countless-fields",
    "torchscript: zip-bomb-of-many-files",
    "onnx: fields-without-number",
    "onnx: nodes-without-number",
    "onnx: tensors-without-number",
    "bundle: gzip-bomb",
    "bundle: zip-bomb-of-a-model",
    "pt2: bomb-of-a-program",
]
"""Files that take the first wall longest, as large as they may be."""

needs_sandbox = pytest.mark.skipif(
    launcher.landlock_version() < 4 or launcher.load_libseccomp() is None,
    reason="needs Landlock and libseccomp",
)


def each(titles, slow=()):
    return pytest.mark.parametrize(
        "title",
        [
            pytest.param(
                title,
                id=title.replace(" ", "-"),
                marks=[pytest.mark.slow] * (title in slow),
            )
            for title in titles
        ],
    )


def titles(*threats):
    return [file.title for file in FILES if not threats or file.threat in threats]


@pytest.fixture(scope="module")
def around():
    with world() as target:
        yield target


@pytest.fixture
def file(around, title):
    return next(file for file in around.files if file.title == title)


def test_the_corpus_is_large_and_of_all_kinds():
    assert len(FILES) == len(set(titles())) >= 200
    assert all(len(titles(threat)) >= 4 for threat in THREATS)


def test_the_costly_files_are_files():
    assert set(COSTLY) <= set(titles())


@each(titles(), slow=COSTLY)
def test_the_first_wall_alone(tmp_path, file):
    path = tmp_path / "model"
    path.write_bytes(file.content)
    started = time.process_time()
    with pytest.raises(Refusal) if file.refused else nullcontext() as refusal:
        require_safe(path, file.format, Limits())
    if refusal is not None:
        assert refusal.value.field == "model"
        assert len(refusal.value.detail) < 600
    assert time.process_time() - started < 10


@needs_sandbox
@each(QUICK, slow=["torchscript: setstate-saves-a-file"])
def test_the_second_wall_alone_stops_the_worst(file, around):
    assert walls.second(file, around).harm == []


@needs_sandbox
@pytest.mark.hostile
@each([title for title in titles() if title not in QUICK])
def test_the_second_wall_alone(file, around):
    assert walls.second(file, around).harm == []


@needs_sandbox
@pytest.mark.hostile
@each(titles(*walls.FILES, *walls.CALLS))
def test_half_of_the_second_wall_alone(file, around):
    by_half = walls.half(file, around)
    assert by_half is None or by_half[1].harm == []


@each(
    [
        "program: leaves-a-symbolic-link",
        "program: leaves-a-hostile-archive",
        "program: reports-no-number",
    ]
)
def test_the_third_wall_alone_takes_no_lies(file, around):
    assert walls.third(file, around).summary.startswith("refused")


@pytest.mark.hostile
@each(titles(walls.LIES))
def test_the_third_wall_alone(file, around):
    assert walls.third(file, around).summary not in ("accepted", "succeeds")


@each(
    [
        "torchscript: setstate-writes-a-mapped-file",
        "torchscript: setstate-saves-a-file",
        "program: calls-by-udp",
    ],
    slow=["torchscript: setstate-saves-a-file"],
)
def test_the_harm_is_real_where_no_wall_stands(file, around):
    assert opened(file, around, seconds=120.0, landlock=False, seccomp=False).harm != []


@needs_sandbox
@pytest.mark.hostile
@each([file.title for file in FILES if not file.refused])
def test_all_walls_together(file, around):
    assert opened(file, around, limits=Limits(), take=True).harm == []


@needs_sandbox
@pytest.mark.hostile
def test_the_service_outlives_them_all(around):
    codes, longest_wait = walls.served(around.files)
    assert len(codes) == len(around.files)
    # `make walls` prints it for a quiet machine; that of a test is not quiet.
    assert longest_wait < 30
    assert around.harm() == []


@needs_sandbox
@pytest.mark.hostile
def test_mutated_models_end_as_success_or_with_a_code(tmp_path):
    tally = fuzz.run(300, 1, seed=1, folder=tmp_path / "fuzzed")
    assert tally.checks.total() == 300
    assert tally.checks["passed"] > 10
    assert tally.ends.total() == 1
    assert not tally.bad

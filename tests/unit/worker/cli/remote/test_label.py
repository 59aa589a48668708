"""Labels are set and removed one by one, and the others stay."""

import pytest
import typer

from worker.cli.remote.label import changed_labels

LABELS = {"team": "vision", "run": "41"}


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ([], LABELS),
        (["run=42"], {"team": "vision", "run": "42"}),
        (["note=a=b-", "team-"], {"run": "41", "note": "a=b-"}),
        (["new=1", "new-"], LABELS),
        (["run="], {"team": "vision", "run": ""}),
    ],
)
def test_changes_apply_in_their_order(changes, labels):
    assert changed_labels(LABELS, changes) == labels


@pytest.mark.parametrize(
    ("change", "reason"), [("run", "neither"), ("none-", "no label 'none'")]
)
def test_a_change_that_is_none_is_wrong_usage(change, reason):
    with pytest.raises(typer.BadParameter, match=reason):
        changed_labels(LABELS, [change])


def test_the_note_alone_changes_no_label(run, service):
    assert run("label", service.known.id, "--note", "good").exit_code == 0
    assert service.options_of("annotate") == {"labels": None, "note": "good"}
    assert [name for name, _, _ in service.calls] == ["annotate"]


def test_a_label_changes_beside_those_of_the_job(run, service):
    assert run("label", service.known.id, "added=1").exit_code == 0
    labels = {**service.known.labels, "added": "1"}
    assert service.options_of("annotate") == {"labels": labels, "note": None}


def test_no_change_is_wrong_usage(run, service):
    assert run("label", service.known.id).exit_code == 2
    assert service.calls == []

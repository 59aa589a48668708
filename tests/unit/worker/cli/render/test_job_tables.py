"""Jobs in tables: lists fit a terminal, and say what each job is for."""

from support.service.rendering import example_job, shown

from convpress.schemas import AdviceSummary
from worker.cli import render


def test_a_list_of_jobs_fits_80_columns_and_keeps_ids_whole():
    job = example_job()
    long = job.model.model_copy(
        update={"filename": "a_very_long_name_of_a_network" * 3 + ".onnx"}
    )
    lines = shown(
        render.jobs([job.model_copy(update={"model": long})]), width=80
    ).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(str(job.id) in line for line in lines)
    assert "succeeded, budget FLOPs 0.5, 49.5 %" in " ".join(lines)


def test_a_job_shows_its_labels_and_its_note():
    plain_job = shown(render.job(example_job().model_copy(update={"labels": {}})))
    assert "labels" not in plain_job
    changes = {"labels": {"team": "vision", "run": "7"}, "note": "for release 3"}
    text = shown(render.job(example_job().model_copy(update=changes)))
    assert "team=vision, run=7" in text
    assert "for release 3" in text


def test_a_job_of_advice_shows_the_advice_in_the_place_of_a_budget():
    advice = AdviceSummary(choice=None, text="Leave the model as it is.")
    job = example_job().model_copy(
        update={"kind": "advice", "advice": advice, "result": None}
    )
    text = shown(render.job(job))
    assert "Leave the model as it is." in text
    assert "budget" not in text
    assert "succeeded, advice" in shown(render.jobs([job]))

"""Progress: seconds, fractions, and memory that is given back between phases."""

from worker.engine.progress import Progress


def test_progress_counts_the_seconds_of_every_phase():
    reports = []
    progress = Progress(lambda *step: reports.append(step))
    progress.enter("loading")
    progress.enter("factoring")
    progress.within(1, 2)
    progress.close()
    assert reports == [("loading", 0.0), ("factoring", 0.4), ("factoring", 0.45)]
    assert progress.seconds.keys() == {"loading", "factoring"}


def test_a_phase_begins_with_free_memory_given_back(monkeypatch):
    happened = []
    monkeypatch.setattr(
        "worker.engine.numerics.memory.give_back", lambda: happened.append("given back")
    )
    progress = Progress(lambda phase, _: happened.append(phase))
    progress.enter("measuring")
    progress.within(1, 2)
    assert happened == ["given back", "measuring", "measuring"]

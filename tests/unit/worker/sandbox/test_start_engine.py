"""The engine starts where no other program can be executed."""

from support.sandboxing import SUCCEEDED, needs_landlock, needs_seccomp

from worker.sandbox import start_engine
from worker.sandbox.messages import Succeeded


@needs_landlock
@needs_seccomp
def test_the_engine_executes_no_other_program(run, shut_in):
    outcome = run(
        shut_in,
        f"""
        import runpy
        def attempt(*_, **options):
            assert options["run_name"] == "__main__"
            try:
                os.execv(sys.executable, [sys.executable, "-c", ""])
            except PermissionError:
                {SUCCEEDED}
        runpy.run_module = attempt
        runpy.run_path({start_engine.__file__!r}, run_name="__main__")
        """,
    )
    assert outcome == Succeeded(), outcome

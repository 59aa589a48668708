"""Commands on a page that reproduce a job."""

from app.dashboard import snippets
from app.db.models import Job


def test_commands_quote_what_a_shell_would_take_for_its_own(settings):
    job = Job(
        filename="a;b'$(c).onnx",
        flops_budget="0.5",
        calibration="none",
        labels={"x": "$(rm)"},
        input_shape=None,
    )
    curl = snippets.commands(job, "http://here")["curl"]
    assert "--form-string 'labels=x=$(rm)'" in curl
    assert """'model=@"a;b'"'"'$(c).onnx"'""" in curl
    compile(snippets.commands(job, "http://here")["python"], "repeat", "exec")

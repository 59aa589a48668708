"""A child with the messages of the engine but not its work; `input_shape` sets its behaviour.

Over HTTP that has to look like a shape: `nap=500`, `die=1`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

# It needs the standard library alone, and starts sooner without a look for other packages.
ENGINE = (sys.executable, "-I", "-S", __file__)
COST = {"macs": 100, "flops": 200, "parameters": 10, "bytes": 50, "latency_ms": 1.5}
SPREAD = {"median_ms": 1.5, "lower_quartile_ms": 1.4, "upper_quartile_ms": 1.6}
TIMES = {"runs": 15, "processor": SPREAD, "clock": SPREAD}
TIMING = {
    "method": "in turn",
    "threads": 1,
    "runtime": "onnxruntime 1.22.0",
    "busy": False,
    "note": None,
    "before": TIMES,
    "after": {"runs": 15, "processor": {**SPREAD, "median_ms": 1.2}, "clock": SPREAD},
}
REPORT = {
    "format": "onnx",
    "inputs": [{"name": "x", "dtype": "float32", "shape": "1x3x8x8"}],
    "convention": "FLOPs = 2 x MACs",
    "budget": {"text": "0.5"},
    "before": COST,
    "after": {**COST, "macs": 40, "flops": 80, "parameters": 4},
    "keep": 0.4,
    "sites": [
        {
            "name": "conv1",
            "op": "Conv",
            "weight_shape": [8, 3, 3, 3],
            "form": "dac",
            "variant": None,
            "rank": 2,
            "layers": [[6, 1, 3, 3], [8, 6, 1, 1]],
            "macs_before": 100,
            "macs_after": 40,
            "error": 0.1,
            "reason": None,
        }
    ],
    "uncounted": {"Relu": 3},
    "predicted_error": 0.0001,
    "frontier": [{"macs": 40, "keep": 0.4, "predicted_error": 0.0001}],
    "calibration": {"kind": "none", "reason": "the request asks for no calibration"},
    "timing": TIMING,
    "verification": {
        "inputs": "standard normal",
        "runs": 1,
        "outputs": ["y"],
        "relative_error": 0.01,
        "agreement": None,
        "finite": True,
    },
    "risk": {
        "level": "unknown",
        "text": "The model was compressed by its weights alone.",
    },
    "engine": {"versions": {}, "seconds": {}},
}


ADVICE = {
    "format": "onnx",
    "bytes": 50,
    "milliseconds": 1.5,
    "options": [
        {
            "name": "int8 alone",
            "precision": "int8",
            "flops_budget": None,
            "refusal": None,
            "keep": 1.0,
            "bytes": 20,
            "milliseconds": 0.75,
            "time_kept": 0.5,
            "relative_error": 0.01,
            "agreement": 1.0,
            "risk": "low",
            "expected_loss": {"expected": 0.002, "low": 0.0, "high": 0.01},
        },
        {
            "name": "both at 50 %",
            "precision": "int8",
            "flops_budget": "0.5",
            "refusal": "no factorisation reaches the budget",
        },
    ],
    "choice": "int8 alone",
    "text": "Int8 alone: 2.0 times as fast, expected to lose 0.20 % (risk low).",
}


def unconfined(home, **_):
    """No confinement: this file and the files of its requests lie outside of a real sandbox."""
    from worker.sandbox.policy import Confinement

    return Confinement(home, landlock=False, seccomp=False)


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(request):
    behaviour, _, detail = (
        (request["input_shape"] or "succeed").replace("=", " ", 1).partition(" ")
    )
    if (
        behaviour == "once"
    ):  # once MARK BEHAVIOUR: the first time, and succeed from then on
        mark, _, then = detail.partition(" ")
        behaviour, _, detail = ("succeed" if Path(mark).exists() else then).partition(
            " "
        )
        Path(mark).touch()
    say(event="progress", phase="loading", fraction=0.1)
    match behaviour:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            say(event="progress", phase="factoring", fraction=0.3)
            time.sleep(float(detail))
        case "await":  # goes on once there is a file
            say(event="progress", phase="factoring", fraction=0.3)
            while not Path(detail).exists():
                time.sleep(0.01)
        case "nap":
            time.sleep(int(detail) / 1000)
        case "refuse":
            say(
                event="failed",
                error={"code": "budget_unreachable", "detail": "no", "got": "0.1"},
            )
            return
        case "fill":
            say(event="failed", error={"code": "storage_full", "detail": "no"})
            return
        case "show":  # the report's budget says what was asked for
            shown = request | {"samples": Path(request["samples"]).read_text()}
            REPORT["budget"] = {
                name: value
                for name, value in shown.items()
                if value is None
                or isinstance(value, str)  # as a report's budget has them
            }
        case "lie":
            say(event="succeeded")
            return
        case "learn":  # leaves what it was given, and a word more
            known = Path(request["analysis"]).read_text() if request["analysis"] else ""
            if request["kept_analysis"]:
                Path(request["kept_analysis"]).write_text(f"{known}{detail}")
        case "tell":  # what it says of the model is what it was told to say
            Path(request["inspection"]).write_text(detail)
    Path(request["output"]).write_bytes(Path(request["model"]).read_bytes())
    Path(request["report"]).write_text(json.dumps(REPORT))
    say(event="succeeded")


if __name__ == "__main__":
    *command, text = sys.argv[1:]
    if command == ["advise"]:
        REPORT = ADVICE
    main(json.loads(text))

"""The user's own command that prints one number for a model, run outside of the sandbox.

It is the user's program, with the user's rights, on the user's machine; the service never runs one.
"""

import math
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convpress.evaluation import LOWER_SCORE, METRICS, SCORE
from convpress.refusal import Code, Refusal, shortened
from convpress.report import Evaluation

FIELD = "evaluate"
PLACE = "{model}"
"""What a command has in the place of a model's path."""
EXPECTED = f"a command with {PLACE} for the path of the model, that prints one number"
SECONDS = 3600.0
_LONGEST_OUTPUT = 200


@dataclass(frozen=True)
class Scorer:
    """A command, in words, and the seconds that it may take for one model."""

    words: Sequence[str]
    lower_is_better: bool = False
    seconds: float = SECONDS

    @property
    def metric(self) -> str:
        """The name of the metric in reports."""
        return LOWER_SCORE if self.lower_is_better else SCORE

    def score(self, model: Path) -> float:
        """Return the number that the command prints for a model.

        Raises:
            Refusal: `evaluation_invalid` where the command fails, takes too long or prints anything
                but one finite number.
        """
        words = [word.replace(PLACE, str(model.absolute())) for word in self.words]
        output = self._output(words)
        try:
            number = float(output)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        shown = output.strip() or "nothing"
        raise _invalid("the command did not print one number", shown)

    def _output(self, words: Sequence[str]) -> str:
        """Run a command, and return what it writes to standard output."""
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise _invalid(
                f"the command cannot be run: {error}", shlex.join(words)
            ) from error
        try:
            output, log = process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            raise _invalid(
                f"the command was not done after {self.seconds:g} seconds",
                shlex.join(words),
            ) from None
        except BaseException:
            _end(process)  # Ctrl-C reaches this process alone
            raise
        if process.returncode:
            last_line = log.strip().rpartition("\n")[2]
            raise _invalid(
                f"the command ended with status {process.returncode}",
                last_line or "no message",
            )
        return output

    def evaluation(self, before: float, after: float) -> Evaluation:
        """Return the report's record of the original's number and the artifact's."""
        loss = METRICS[self.metric].loss(before, after)
        return Evaluation(metric=self.metric, before=before, after=after, loss=loss)


def parse_scorer(
    command: str, *, lower_is_better: bool = False, seconds: float | None = None
) -> Scorer:
    """Read a command.

    Raises:
        Refusal: `evaluation_invalid`.

    >>> parse_scorer("python score.py {model}").words
    ('python', 'score.py', '{model}')
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise _invalid(f"the command cannot be read: {error}", command) from error
    if not any(PLACE in word for word in words):
        raise _invalid(f"the command has no {PLACE}", command)
    limit = SECONDS if seconds is None else seconds
    if not limit > 0:
        raise _invalid("the command needs time", f"{seconds:g} seconds")
    return Scorer(words, lower_is_better, limit)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the command, and whatever it has started."""
    # it is not reaped yet, so that its number is its own
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _invalid(detail: str, got: str) -> Refusal:
    shown = shortened(got, _LONGEST_OUTPUT)
    return Refusal(
        Code.EVALUATION_INVALID, detail, field=FIELD, expected=EXPECTED, got=shown
    )

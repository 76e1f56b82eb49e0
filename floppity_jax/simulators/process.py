"""What simulators that run a program share: its process, its logs, and checks of arguments."""

import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from floppity_jax.errors import InvalidInput

LOGS = ("stdout.txt", "stderr.txt")
_Path = str | os.PathLike[str]


def run_logged(
    command: Sequence[str],
    logs: pathlib.Path,
    *,
    cwd: _Path,
    environment: Mapping[str, str],
    timeout: float | None,
) -> str:
    """Run a program, its output going to files in ``logs``; return what went wrong, or "".

    The program stays in our process group, so that whoever stops us stops it too.
    """
    with open(logs / LOGS[0], "wb") as out, open(logs / LOGS[1], "wb") as err:
        try:
            code = subprocess.run(
                command, cwd=cwd, env={**os.environ, **environment}, timeout=timeout,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"was killed at its time limit of {timeout:g} s"
        except OSError as error:
            return f"could not be started ({error})"
    if code < 0:
        return f"was killed by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with exit code {code}" if code else ""


def last_lines(logs: pathlib.Path, lines: int = 10) -> str:
    """Text with the last lines of a program's output, for an error."""
    text = ""
    for name in reversed(LOGS):
        if not (logs / name).exists():
            continue
        with open(logs / name, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            tail = log.read().decode(errors="replace").strip().splitlines()[-lines:]
        if tail:
            text += f" Last lines of {name}:\n" + "\n".join(tail) + "\n"
    return text or " It printed nothing."


def find_executable(argument: str, name: _Path) -> str:
    """Absolute path of an executable; InvalidInput where there is none."""
    found = shutil.which(name)
    if found is None:
        raise InvalidInput(
            argument, os.fspath(name), "must be an executable on PATH, or the path of one",
            "Check the spelling, give the full path, and see that it has the x permission.",
        )  # fmt: skip
    return os.path.abspath(found)


def check_scratch(scratch: _Path | None) -> str | None:
    """Absolute path of the folder for scratch files; InvalidInput where it is not a folder."""
    if scratch is None:
        return None
    if not os.path.isdir(scratch) or not os.access(scratch, os.W_OK):
        raise InvalidInput(
            "scratch", os.fspath(scratch), "must be a folder that can be written to",
            "Make it first, or leave it out for the system's temporary folder.",
        )  # fmt: skip
    return os.path.abspath(scratch)


def check_timeout(timeout: float | None) -> float | None:
    """Return a time limit that is None or above 0."""
    if timeout is not None and not timeout > 0:
        raise InvalidInput(
            "timeout", timeout, "must be above 0 seconds", "Leave it out for no limit."
        )
    return timeout


def check_given(given: Mapping[str, Any], wanted: Sequence[str]) -> None:
    """Refuse a call with other names than those wanted."""
    if set(given) != set(wanted):
        raise InvalidInput(
            "parameters", sorted(given), f"must be {sorted(wanted)}",
            "Give each of these, fixed where it does not vary, and no other.",
        )  # fmt: skip

"""What tests ask of processes."""

import pathlib
import time


def gone(pid):
    """Whether a process ends, and is collected, within five seconds."""
    for _ in range(100):
        if not pathlib.Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False

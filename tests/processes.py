"""What tests ask of processes."""

import concurrent.futures
import pathlib
import time


def gone(pid):
    """Whether a process ends, and is collected, within five seconds."""
    for _ in range(100):
        if not pathlib.Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


class Here(concurrent.futures.Executor):
    """Runs the simulator in this process: no workers to start."""

    def submit(self, function, /, *args, **kwargs):
        future = concurrent.futures.Future()
        future.set_result(function(*args, **kwargs))
        return future

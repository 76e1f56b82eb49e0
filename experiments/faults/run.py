"""Kill a retrieval whose simulator fails in every way, resume it, and count what that cost.

The simulator of `driver.py` raises (10% of the parameters), returns NaN (5%), hangs (2%) and
crashes (1%). One run is left alone, twice: the second, with a compilation cache as warm as that of
the others, is what they are held against. Then, for each of `--kill-seeds`, a run whose process is
killed by SIGKILL at three random moments, and resumed after each. Both meet the same faults, for
these are a function of the parameters, and fresh parameters are drawn for those that fail: only the
kills tell the runs apart.

Prints JSON; `--output` writes it too.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

import driver
import numpy as np

import floppity_jax as fp

KILLS = 3
LAST = 0.5  # seconds before a kill; the package writes finished spectra that often
MARK = "FAULTS_MARK"  # environment variable by which processes of a run are found
TEXTS = {
    "exception": "ValueError: no convergence",
    "nan": "the spectrum holds numbers that are not finite",
    "hang": "took longer than the time limit",
    "hang in a command": "took longer than the time limit",
    "crash": "the worker process was lost (SIGSEGV), 2 times",
}


def processes(mark):
    """Return the living processes of a run: all that inherited its environment."""
    found = set()
    wanted = f"{MARK}={mark}".encode()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))  # of a zombie, environ is empty
    return found


def alive(pid):
    """Whether a process runs, and is no zombie."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def read_log(path):
    """Lines of a log: time, pid, event, key."""
    if not path.exists():
        return []
    lines = (text.split() for text in path.read_text().splitlines())
    return [(float(t), int(pid), event, key) for t, pid, event, key in lines]


def phase(directory):
    """Say what a run was at, from the files in its folder."""
    simulated = {path.stem for path in directory.glob("simulations/round_*.npz")}
    learned = {path.stem for path in directory.glob("rounds/round_*.npz")}
    if simulated - learned:
        return f"training, round {len(simulated)}"
    if list(directory.glob("simulations/importance*")):
        return "correction"
    if list(directory.glob("simulations/*.parts")):
        return f"simulations, round {len(simulated) + 1}"
    return f"before simulations of round {len(simulated) + 1}"


def launch(directory, number, cache, delay=None):
    """Start the driver, kill it after ``delay`` seconds of its run, and say how it went."""
    log = directory.with_name(f"{directory.name}.calls.{number}")
    mark = log.name
    environment = {
        **os.environ, "FAULTS_LOG": str(log), MARK: mark, "XDG_CACHE_HOME": str(cache),
    }  # fmt: skip
    started = time.monotonic()
    running = subprocess.Popen(
        [sys.executable, pathlib.Path(driver.__file__), directory],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    if running.stdout.readline() != "begin\n":
        raise RuntimeError(f"the driver ended with exit code {running.wait()}")
    begun = time.monotonic()
    result = {"start_up_s": begun - started}
    with contextlib.suppress(subprocess.TimeoutExpired):
        if running.wait(delay):
            raise RuntimeError(f"the driver ended with exit code {running.returncode}")
        return {**result, "killed_at": None, "s": time.monotonic() - started, "log": read_log(log)}
    before = processes(mark)
    killed_at = time.monotonic()
    running.send_signal(signal.SIGKILL)
    running.wait()
    seconds = time.monotonic() - started
    result |= {"killed_at": killed_at, "s": seconds, "phase": phase(directory)}
    time.sleep(1.0)
    lines = read_log(log)
    named = {pid for _, pid, _, _ in lines}
    commands = [event.partition("-")[2] for _, _, event, _ in lines if event.startswith("command")]
    left = {pid for pid in named | set(map(int, commands)) if alive(pid)} | processes(mark)
    return {**result, "log": lines, "before": before, "orphans": sorted(left)}


def stored(directory):
    """Spectra and failure texts of a run, by parameter set."""
    spectra, failures = {}, {}
    for path in sorted(directory.glob("simulations/*.npz")):
        with np.load(path) as file:
            texts = dict(zip(file["failed_rows"].tolist(), file["failure_texts"], strict=True))
            for row, (theta, spectrum) in enumerate(
                zip(file["theta"], file["spectra"], strict=True)
            ):
                if row in texts:
                    failures[driver.key_of(theta)] = str(texts[row])
                else:
                    spectra[driver.key_of(theta)] = spectrum
    return spectra, failures


def account(directory, launches):
    """Count what a run did, and what it had to do again."""
    calls = collections.Counter()
    good = collections.Counter()
    retries = 0
    for one in launches:
        starts = collections.Counter(key for _, _, event, key in one["log"] if event == "start")
        calls += starts
        retries += sum(count - 1 for count in starts.values())
        good += collections.Counter(key for _, _, event, key in one["log"] if event == "good")
    spectra, failures = stored(directory)
    kinds = collections.defaultdict(lambda: {"n": 0, "parameter sets with this fault": 0})
    for key in calls:
        if driver.fault_of(key) != "good":
            kinds[driver.fault_of(key)]["parameter sets with this fault"] += 1
    for key, text in failures.items():
        kind = kinds[driver.fault_of(key)]
        kind["n"] += 1
        kind.setdefault("text", text)
    parameters = np.array([np.frombuffer(bytes.fromhex(key)) for key in spectra])
    kept = np.array(list(spectra.values()))
    right = np.array([driver.line(*theta) for theta in parameters])
    return {
        "calls_started": sum(calls.values()),
        "parameter_sets": len(calls),
        "spectra_computed": sum(good.values()),
        "spectra_kept": len(spectra),
        "spectra_kept_that_are_wrong": int((kept != right).any(axis=1).sum()),
        "spectra_computed_again": sum(good.values()) - len(good),
        "spectra_missing_at_the_end": len(set(good) - set(spectra)),
        "retries_of_lost_processes": retries,
        "failures": dict(sorted(kinds.items())),
        "failures_with_another_text_or_of_a_good_parameter_set": sum(
            not text.startswith(TEXTS.get(driver.fault_of(key), "none"))
            for key, text in failures.items()
        ),
        "start_up_s": round(sum(one["start_up_s"] for one in launches), 1),
        "total_s": round(sum(one["s"] for one in launches), 1),
    }


def kills(launches):
    """Say of each kill what it met, and what was lost by it."""
    told = []
    for number, one in enumerate(launches):
        if one["killed_at"] is None:
            continue
        again = {key for later in launches[number + 1 :] for _, _, _, key in later["log"]}
        ages = {key: one["killed_at"] - t for t, _, event, key in one["log"] if event == "good"}
        lost = [age for key, age in ages.items() if key in again]
        last = {pid: event for t, pid, event, _ in one["log"] if t < one["killed_at"]}
        at_work = [pid for pid, event in last.items() if event == "start" or "command" in event]
        commands = {int(event[8:]) for _, _, event, _ in one["log"] if "command-" in event}
        told.append(
            {
                "during": one["phase"],
                "s_since_start": round(one["s"], 2),
                "calls_in_this_launch": sum(event == "start" for _, _, event, _ in one["log"]),
                "calls_in_flight": len(one["before"].intersection(at_work)),
                f"good_in_the_last_{LAST}_s": sum(0 <= age < LAST for age in ages.values()),
                "good_while_the_process_was_dying": sum(age < 0 for age in ages.values()),
                "good_but_lost": len(lost),
                "oldest_lost_s": round(max(lost), 2) if lost else None,
                "processes_before": len(one["before"]),
                "commands_before": len(one["before"] & commands),
                "orphans_after_1_s": len(one["orphans"]),
            }
        )
    return told


def same_arrays(one, other):
    """Whether two files hold the same arrays, to the last bit."""
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(
            a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes()
            for name in a.files
        )


def equal(one, other):
    """Hold the results of two runs against each other."""
    files = sorted(path.relative_to(one) for path in one.rglob("*.npz"))
    last = max(path for path in files if path.parts[0] == "rounds")
    return {
        "same_files": files == sorted(path.relative_to(other) for path in other.rglob("*.npz")),
        "posterior_draws_and_evidence": same_arrays(f"{one}.npz", f"{other}.npz"),
        "last_round_file": same_arrays(one / last, other / last),
        "files_equal": f"{sum(same_arrays(one / file, other / file) for file in files)} of "
        f"{len(files)}",
    }


def run(folder, kill_seeds):
    cache = folder / "cache"
    undisturbed = []
    for number in range(2):
        directory = folder / f"undisturbed_{number}"
        undisturbed.append((directory, [launch(directory, 0, cache)]))
    reference, (alone,) = undisturbed[1]
    length = alone["s"] - alone["start_up_s"]
    results = {
        "undisturbed": account(reference, [alone]),
        "undisturbed_first": {
            "total_s": round(undisturbed[0][1][0]["s"], 1),
            "equal": equal(reference, undisturbed[0][0]),
        },
        "killed": {},
    }
    for seed in kill_seeds:
        moments = np.sort(np.random.default_rng(seed).uniform(0, length, KILLS))
        directory = folder / f"killed_{seed}"
        launches = [
            launch(directory, number, cache, delay)
            for number, delay in enumerate([*np.diff(moments, prepend=0.0), None])
        ]
        told = account(directory, launches)
        results["killed"][str(seed)] = {
            "kills": kills(launches),
            "equal_to_undisturbed": equal(reference, directory),
            "failures_as_undisturbed": told.pop("failures") == results["undisturbed"]["failures"],
            **told,
            "lost_s": round(told["total_s"] - results["undisturbed"]["total_s"], 1),
        }
    return {"sum": summary(results["killed"].values()), **results}


def summary(killed):
    """Add up what the kills of all runs did."""
    every = [kill for one in killed for kill in one["kills"]]
    return {
        "runs": len(killed),
        "kills": len(every),
        "runs_equal_to_the_undisturbed_to_the_last_bit": sum(
            all(
                one["equal_to_undisturbed"][part]
                for part in ("same_files", "posterior_draws_and_evidence", "last_round_file")
            )
            for one in killed
        ),
        **{
            name: sum(one[name] for one in killed)
            for name in (
                "calls_started",
                "spectra_kept",
                "spectra_computed_again",
                "spectra_missing_at_the_end",
                "spectra_kept_that_are_wrong",
            )
        },
        "lost_at_one_kill_at_most": max(kill["good_but_lost"] for kill in every),
        "oldest_lost_s": max(kill["oldest_lost_s"] or 0.0 for kill in every),
        "processes_before": sum(kill["processes_before"] for kill in every),
        "orphans": sum(kill["orphans_after_1_s"] for kill in every),
        "lost_s": [one["lost_s"] for one in killed],
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kill-seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--keep", type=pathlib.Path, help="folder for runs and logs; must be new")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file")
    arguments = parser.parse_args()
    if not hasattr(os, "sched_getaffinity") or not pathlib.Path("/proc/self/environ").exists():
        parser.error("processes are found in /proc: run this on Linux")
    with contextlib.ExitStack() as stack:
        if arguments.keep is None:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = arguments.keep.resolve()
            folder.mkdir(parents=True)
        results = run(folder, arguments.kill_seeds)
    results["setting"] = {
        "faults": driver.FAULTS,
        "call_s": driver.SECONDS,
        "time_limit_s": driver.TIMEOUT,
        "workers": driver.WORKERS,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[1], 1),
        "python": platform.python_version(),
        "floppity_jax": fp.__version__,
    }
    text = json.dumps(results, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""Any executable as a simulator."""

import functools
import os
import pathlib
import pickle
import re
import sys
import time

import numpy as np
import pytest

from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.simulators import CommandSimulator, read_column, simulator_kind

DOCS = pathlib.Path(__file__).parents[1] / "docs"
NAMELIST = "&planet\n t = $T, mix = ${X_H2O}, p = ${cloud1:P}  ! {a: 1}, 5$$\n/\n"
GOOD = """
import sys
numbers = [word for word in open(sys.argv[1]).read().replace(",", " ").split()]
t, mix, p = (float(numbers[numbers.index(key) + 2]) for key in ("t", "mix", "p"))
with open("spectrum.txt", "w") as out:
    out.write("# wavelength depth\\n\\n1.0 %.17g\\n2.0 %.17g\\n3.0 1.5D-3\\n" % (t * mix, p))
print("done")
"""
THETA = {"T": 1 / 3, "X_H2O": 3.0, "cloud1:P": 1e-7}


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def make(tmp_path, scratch):
    """Make a simulator around a Python script."""

    def make(body, **options):
        path = tmp_path / "model"
        path.write_text(f"#!{sys.executable} -IS\n{body}")
        path.chmod(0o755)
        given = {
            "read": read_column("spectrum.txt", 1),
            "inputs": {"run/in.nml": NAMELIST},
            "scratch": scratch,
        }
        return CommandSimulator([path, "run/in.nml"], **given | options)

    return make


def failure(simulator):
    with pytest.raises(SimulatorError) as caught:
        simulator(THETA)
    return str(caught.value)


def test_runs_reads_and_cleans_up(make, scratch):
    simulator = make(GOOD)
    assert simulator_kind(simulator) == "scalar"
    assert simulator.parameters == ("T", "X_H2O", "cloud1:P")
    expected = [1 / 3 * 3.0, 1e-7, 1.5e-3]
    np.testing.assert_array_equal(simulator(THETA), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(simulator))(THETA), expected)
    assert list(scratch.iterdir()) == []


def test_template_from_a_file_and_numbers_in_the_arguments(make, tmp_path):
    (tmp_path / "template.nml").write_text("$T")
    body = "import sys; print(open('in').read(), *sys.argv[1:])"
    simulator = make(body, inputs={"in": tmp_path / "template.nml"}, read=stdout)
    simulator.arguments = ("--x=$T", "a b; exit 1")
    assert simulator({"T": 0.1}) == "0.10000000000000001 --x=0.10000000000000001 a b; exit 1\n"
    short = make(body, inputs={"in": "$T"}, read=stdout, number_format=".3e")
    assert short({"T": 0.1}).startswith("1.000e-01 ")


def stdout(folder):
    return (folder / "stdout.txt").read_text()


def both(folder, scale=1.0):
    values = read_column("spectrum.txt", 1)(folder)
    return {"red": scale * values, "blue": values[:1]}


def test_reader_may_return_datasets(make):
    spectra = make(GOOD, read=functools.partial(both, scale=2.0))(THETA)
    assert spectra["red"].shape == (3,)
    assert spectra["blue"] == 1 / 3 * 3.0


def test_exit_code_and_last_lines_are_told(make, scratch):
    body = "import sys\nfor i in range(50): print('line', i)\nsys.exit('no convergence')"
    text = failure(make(body))
    assert "model ended with exit code 1" in text
    assert "no convergence" in text
    assert "line 49" in text
    assert "line 39" not in text
    (kept,) = scratch.iterdir()
    assert str(kept) in text
    assert "t = 0.3333" in (kept / "run" / "in.nml").read_text()


def test_signal_and_time_limit_are_told(make):
    text = failure(make("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert "killed by signal 11 (Segmentation fault)" in text
    assert "printed nothing" in text
    start = time.perf_counter()
    assert "killed at its time limit of 0.3 s" in failure(
        make("import time; time.sleep(60)", timeout=0.3)
    )
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("print('all well')", "FileNotFoundError"),
        ("open('spectrum.txt', 'w')", "holds no numbers"),
        ("open('spectrum.txt', 'w').write('1.0 2.0\\n2.0 ****\\n')", "line 2 of spectrum.txt"),
        ("open('spectrum.txt', 'w').write('1.0\\n')", "line 1 of spectrum.txt"),
        ("open('spectrum.txt', 'w').write('1 2\\n')", "holds 1 rows; expected 3"),
    ],
)
def test_exit_code_0_without_good_output_fails(make, scratch, body, told):
    text = failure(make(body, read=read_column("spectrum.txt", 1, channels=3)))
    assert "exit code 0, but its output could not be read" in text
    assert told in text
    assert len(list(scratch.iterdir())) == 1


def test_output_of_an_earlier_run_is_never_read(make):
    body = GOOD + "\nif t > 1: import os; os.remove('spectrum.txt')"
    simulator = make(body)
    simulator(THETA)
    with pytest.raises(SimulatorError, match="FileNotFoundError"):
        simulator({**THETA, "T": 2.0})


def test_environment_stdin_and_process_group(make, monkeypatch, tmp_path):
    monkeypatch.setenv("FROM_OUTSIDE", "kept")
    body = (
        "import os, sys; print(os.environ['FROM_OUTSIDE'], os.environ['MINE'], "
        "repr(sys.stdin.read()), os.getpgid(0), os.getsid(0), os.environ.get('T'))"
    )
    simulator = make(body, read=stdout, environment={"MINE": "$T"})
    ours = f"{os.getpgid(0)} {os.getsid(0)}"
    (tmp_path / "typed").write_text("typed")
    saved = os.dup(0)
    try:
        with open(tmp_path / "typed") as typed:
            os.dup2(typed.fileno(), 0)
        assert simulator(THETA) == f"kept $T '' {ours} None\n"
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_files_are_linked_or_copied(make, tmp_path):
    (tmp_path / "table.dat").write_text("42")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a").write_text("43")
    body = "print(open('table.dat').read(), open('t/a').read()); open('table.dat', 'w').write('0')"
    files = {"table.dat": tmp_path / "table.dat", "t": tmp_path / "tables"}
    assert make(body, read=stdout, files=files, copy=True)(THETA) == "42 43\n"
    assert (tmp_path / "table.dat").read_text() == "42"
    body = "import os; print(os.path.islink('table.dat'), open('table.dat').read())"
    assert make(body, read=stdout, files=[tmp_path / "table.dat"])(THETA) == "True 42\n"


def test_fingerprint_follows_what_the_output_depends_on(make, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table").write_text(name)
    same = {"files": {"table": tmp_path / "one" / "table"}}
    changes = {
        "inputs": {"in": "$T"},
        "read": read_column("spectrum.txt", 2),
        "files": {"table": tmp_path / "other" / "table"},
        "copy": True,
        "number_format": ".8e",
        "environment": {"A": "1"},
    }
    first = make(GOOD, **same).fingerprint()
    assert first == make(GOOD, **same, scratch=tmp_path, timeout=9.0).fingerprint()
    for argument, value in changes.items():
        assert make(GOOD, **same | {argument: value}).fingerprint() != first, argument
    assert make(GOOD + "#", **same).fingerprint() != first
    simulator = make(GOOD, **same)
    simulator.arguments += ("-v",)
    assert simulator.fingerprint() != first
    assert make(GOOD, read=stdout).fingerprint() != make(GOOD, read=both).fingerprint()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"inputs": {"in": "$T $"}}, r"Write \$\$ for a dollar"),
        ({"inputs": {"in": "no placeholder"}}, r"Write \$T where"),
        ({"inputs": {"/etc/in": "$T"}}, "inside the working folder"),
        ({"inputs": {"../in": "$T"}}, "inside the working folder"),
        ({"inputs": {"stdout.txt": "$T"}}, "other than"),
        ({"inputs": {"in": pathlib.Path("lacking.nml")}}, "must be readable"),
        ({"parameters": ["T", "X_H2O"]}, r"\$\{cloud1:P\}.*must be one of the parameters"),
        ({"parameters": [*THETA, "log_g"]}, "must have a placeholder"),
        ({"files": ["/lacking/table"]}, "must exist"),
        ({"files": {"run/in.nml": __file__}}, "must not be in inputs too"),
        ({"number_format": "d"}, "must be a format"),
        ({"number_format": "no number"}, "must be a format"),
        ({"scratch": "/lacking"}, "must be a folder"),
        ({"timeout": 0}, "above 0 seconds"),
        ({"read": 3}, "must be callable"),
    ],
)
def test_refuses_before_any_run(make, options, told):
    with pytest.raises(InvalidInput, match=told):
        make("", **options)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("model in.nml", "Nothing goes through a shell"),
        ([], "the executable first"),
        (["a-model-that-is-not-there"], r"command\[0\].*on PATH"),
        ([__file__], "x permission"),
    ],
)
def test_refuses_commands(command, told):
    with pytest.raises(InvalidInput, match=told):
        CommandSimulator(command, read=stdout, inputs={"in": "$T"})


def test_refuses_other_names_and_columns(make, scratch):
    for given in ({"T": 1.0}, {**THETA, "log_g": 3.0}):
        with pytest.raises(InvalidInput, match="must be"):
            make(GOOD)(given)
    assert list(scratch.iterdir()) == []
    for column, channels in ((1.5, None), (True, None), (1, 0)):
        with pytest.raises(InvalidInput):
            read_column("spectrum.txt", column, channels=channels)


def test_parameters_set_their_order(make):
    names = list(reversed(THETA))
    assert make(GOOD, parameters=names).parameters == tuple(names)


def test_the_example_of_the_docs(tmp_path, monkeypatch):
    """The script and the Python block of the page, as they stand."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", (DOCS / "command.md").read_text("utf-8"), re.DOTALL)
    (script,) = (text for kind, text in blocks if kind == "py")
    program = tmp_path / "slab"
    program.write_text(script.replace("/usr/bin/env python3", sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for kind, text in blocks:
        if kind == "python":
            exec(text, namespace)
    assert namespace["spectrum"].shape == (50,)
    assert np.isfinite(namespace["spectrum"]).all()
    assert set(namespace["retrieval"].space.names) == {"T", "tau"}

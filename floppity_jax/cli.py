"""The command line: ``floppity-jax init | run | demo | resume | report | compare``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.resources
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import floppity_jax
from floppity_jax.errors import FloppityError, InvalidInput, RunDirectoryError
from floppity_jax.store import MANIFEST

if TYPE_CHECKING:
    import xarray

    from floppity_jax.config import Setup

CODES = (
    "wasp39b", "instruments", "python", "command", "arcis", "taurex", "petitradtrans",
)  # fmt: skip
FLAGS = {
    "rounds": "run.rounds",
    "simulations": "run.simulations",
    "seed": "run.seed",
    "method": "run.method",
    "workers": "pool.workers",
}
RESULT = "posterior.nc"
COMPARISON, COMPARED = "comparison.nc", "comparison.png"


class Stopped(KeyboardInterrupt):
    """An interrupt that says what to do next."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except FloppityError as error:
        print(f"floppity-jax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"\nfloppity-jax: {interrupt or 'stopped'}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="floppity-jax", description="Retrieve atmospheres from spectra, in few simulations."
    )
    parser.add_argument("--version", action="version", version=floppity_jax.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="write a commented input file to start from")
    init.add_argument(
        "file", type=pathlib.Path, nargs="?", default=pathlib.Path("retrieval.toml"),
        metavar="FILE", help="input file to write (default: %(default)s)",
    )  # fmt: skip
    source = init.add_mutually_exclusive_group()
    source.add_argument(
        "--code", choices=CODES, default=CODES[0], help="forward model (default: %(default)s)"
    )
    source.add_argument(
        "--from-arcis", type=pathlib.Path, metavar="INPUT", help="ARCiS input file to convert"
    )
    init.add_argument("--force", action="store_true", help="overwrite files that are there")
    init.set_defaults(command=_init)

    run = commands.add_parser("run", help="run the retrieval that a TOML file describes")
    run.add_argument("file", type=pathlib.Path, metavar="FILE", help="input file")
    run.add_argument(
        "--output", type=pathlib.Path, metavar="DIR", help="run directory (default: runs/NAME)"
    )
    _add_overrides(run)
    run.set_defaults(command=_run)

    demo = commands.add_parser("demo", help="retrieve WASP-39 b from its JWST spectrum")
    demo.add_argument(
        "--output", type=pathlib.Path, metavar="DIR", default=pathlib.Path("runs/wasp39b"),
        help="run directory (default: %(default)s)",
    )  # fmt: skip
    _add_overrides(demo)
    demo.set_defaults(command=_demo)

    resume = commands.add_parser(
        "resume", help="go on with a run that was interrupted, or add rounds to one that ended"
    )
    resume.add_argument("directory", type=pathlib.Path, metavar="DIR", help="run directory")
    resume.add_argument(
        "--rounds", type=int, metavar="N", help="rounds in all (default: as many as before)"
    )
    resume.set_defaults(command=_resume)

    report = commands.add_parser("report", help="print the table and draw the figures of a run")
    report.add_argument("directory", type=pathlib.Path, metavar="DIR", help="run directory")
    report.set_defaults(command=_report)

    compare = commands.add_parser(
        "compare", help="hold other posteriors, such as nested sampling's, beside that of a run",
        description="Say whether other posteriors of the same problem agree with that of a run, "
        f"which is the reference. Prints a table and a verdict; writes {COMPARISON} (the figures "
        f"of the table) and {COMPARED} (all posteriors in one corner plot).",
    )  # fmt: skip
    compare.add_argument("directory", type=pathlib.Path, metavar="DIR", help="run directory")
    compare.add_argument(
        "others", type=pathlib.Path, nargs="+", metavar="NESTED_RUN",
        help="folder or file of MultiNest, UltraNest, bilby, TauREx or FlopPITy, a run directory, "
        "or a DataTree (.nc)",
    )  # fmt: skip
    compare.add_argument(
        "--output", type=pathlib.Path, metavar="FOLDER", help="where to write (default: DIR)"
    )
    compare.add_argument(
        "--rename", type=_renaming, action="append", default=[], metavar="THEIRS=OURS",
        help="what a parameter of the others is called in DIR; may be given again",
    )  # fmt: skip
    compare.add_argument(
        "--log10", action="append", default=[], metavar="NAME",
        help="a parameter, by its name in DIR, of which the others hold the decimal logarithm; may "
        "be given again",
    )  # fmt: skip
    compare.set_defaults(command=_compare)
    return parser


def _renaming(text: str) -> tuple[str, str]:
    theirs, equals, ours = text.partition("=")
    if not (theirs and equals and ours):
        raise argparse.ArgumentTypeError(f"{text!r} must be of the form THEIRS=OURS")
    return theirs, ours


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add flags that override keys of the input file."""
    parser.add_argument(
        "--dry-run", action="store_true",
        help="check everything, time three simulator calls, say what a run would take, and stop",
    )  # fmt: skip
    group = parser.add_argument_group("keys of the input file to override")
    for flag, key in FLAGS.items():
        group.add_argument(f"--{flag}", dest=key, metavar=flag[0].upper(), help=key)
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="any key, as in --set training.batch_size=50",
    )  # fmt: skip


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    """Return the values of keys that flags give; each is TOML, or a text."""
    from floppity_jax.config.text import read_value

    given = {key: text for key in FLAGS.values() if (text := vars(options)[key]) is not None}
    for assignment in options.set:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InvalidInput("--set", assignment, "must be KEY=VALUE", "For example run.seed=3.")
        given[key.strip()] = text.strip()
    return {key: read_value(text) for key, text in given.items()}


def _init(options: argparse.Namespace) -> None:
    from floppity_jax.config import templates

    if options.from_arcis is None:
        files = templates.files_of(options.code, options.file)
    else:
        files = templates.files_from_arcis(options.from_arcis, options.file)
    templates.write(files, force=options.force)
    print(f"Wrote {', '.join(map(str, files))}. Edit it, then look before you leap:")
    print(f"  floppity-jax run {options.file} --dry-run")


def _run(options: argparse.Namespace) -> None:
    output = options.output or pathlib.Path("runs") / options.file.stem
    _start(options.file, output, options)


def _demo(options: argparse.Namespace) -> None:
    with importlib.resources.as_file(importlib.resources.files("floppity_jax") / "data") as data:
        _start(data / "wasp39b.toml", options.output, options)


def _start(file: pathlib.Path, output: pathlib.Path, options: argparse.Namespace) -> None:
    """Check the input, copy it into a new run directory, and run it there."""
    from floppity_jax import config

    if options.dry_run:
        from floppity_jax.dry_run import dry_run

        print(dry_run(config.load(file, _overrides(options))))
        return
    if (output / MANIFEST).exists():
        raise RunDirectoryError(
            f"{output} already holds a run. Go on with it by floppity-jax resume {output}, show it "
            f"by floppity-jax report {output}, or choose another folder by --output."
        )
    setup = config.load(file, _overrides(options))
    setup.keep(output)
    _finish(setup, output, resume=False)


def _resume(options: argparse.Namespace) -> None:
    from floppity_jax import config
    from floppity_jax.store import read_manifest

    counts = read_manifest(options.directory)["configuration"]["simulations"]
    setup = config.load(options.directory / config.CONFIG, resuming=True)
    rounds = len(counts) if options.rounds is None else options.rounds
    counts = counts[:rounds] + counts[-1:] * (rounds - len(counts))
    run = dataclasses.replace(setup.run, rounds=rounds, simulations=counts)
    _finish(dataclasses.replace(setup, run=run), options.directory, resume=True)


def _finish(setup: Setup, output: pathlib.Path, *, resume: bool) -> None:
    """Run, correct, save and report."""
    run = setup.run
    try:
        posterior = setup.retrieval.run(
            run.rounds,
            run.simulations,
            seed=run.seed,
            directory=output,
            resume=resume,
            progress=True,
            stop=run.stop,
            reuse=run.reuse,
            configuration=setup.text,
        )
        if run.importance_samples:
            posterior = posterior.importance_sample(run.importance_samples, seed=run.seed)
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped. What was simulated is kept: go on by floppity-jax resume {output}."
        ) from None
    posterior.save(output / "posterior.npz")
    posterior.to_datatree(seed=run.seed).to_netcdf(output / RESULT)
    _show(output)


def _report(options: argparse.Namespace) -> None:
    _show(options.directory)


def _finished(directory: pathlib.Path) -> xarray.DataTree:
    """Return the posterior of a run that has ended."""
    import xarray

    from floppity_jax.store import read_manifest

    read_manifest(directory)
    if not (directory / RESULT).exists():
        raise RunDirectoryError(
            f"{directory} holds a run that has not ended. "
            f"Go on with it by floppity-jax resume {directory}."
        )
    with xarray.open_datatree(directory / RESULT) as tree:
        return tree.load()


def _show(output: pathlib.Path) -> None:
    """Print the table and draw the figures of a finished run."""
    from floppity_jax import report

    tree = _finished(output)
    print(report.summary_table(tree))
    figures = report.write_report(tree, output)
    print(f"\nKept in {output}: {RESULT}, {', '.join(figure.name for figure in figures)}")


def _compare(options: argparse.Namespace) -> None:
    """Hold others against the posterior of a finished run; print, draw and keep what comes out."""
    from floppity_jax import plots
    from floppity_jax.diagnostics.comparison import compare_posteriors
    from floppity_jax.diagnostics.sources import as_datatree, in_terms_of_reference, labels_of

    ours, others = _finished(options.directory), [as_datatree(path) for path in options.others]
    labels = labels_of([options.directory, *options.others], [ours, *others])
    others = in_terms_of_reference(others, dict(options.rename), options.log10)
    axes = plots.corner(ours, *others, labels=labels)
    comparison = compare_posteriors(ours, *others, labels=labels)
    print(comparison)
    output = options.output or options.directory
    output.mkdir(parents=True, exist_ok=True)
    axes.flat[0].figure.savefig(output / COMPARED, dpi=150)
    comparison.to_datatree().to_netcdf(output / COMPARISON)
    print(f"\nKept in {output}: {COMPARISON}, {COMPARED}")


if __name__ == "__main__":
    sys.exit(main())

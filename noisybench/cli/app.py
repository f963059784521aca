"""``noisybench``: the commands and their options. Torch is imported by a command, never by ``--help``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from noisybench import __version__
from noisybench.cli import reports, studies
from noisybench.cli.options import DataDir, Plugins, Sets
from noisybench.errors import InputError, NoisybenchError

app = typer.Typer(
    name="noisybench",
    help="Train image classifiers on wrong labels, honestly compared.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of noisybench itself."""


studies.register(app)


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUNS...", help="Folders of suites, e.g. runs/quickstart; several merge.")
    ],
    accuracy: Annotated[str | None, typer.Option(help="Selection rule: last, last10, validation or best.")] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Published scores to compare with: a source (list literature), or a YAML file of yours; repeatable."
        ),
    ] = None,
    verified_only: Annotated[
        bool, typer.Option("--verified-only", help="Show no published score that is unverified.")
    ] = False,
    baseline: Annotated[str | None, typer.Option(help="The method that the others are compared with.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="KEY=A|B", help="Report these runs only; repeatable.")
    ] = None,
    forms: Annotated[
        str, typer.Option("--format", metavar="FORM,...", help="html, md, tex, csv, json, svg and png (pictures).")
    ] = "html,md,csv,json",
    out: Annotated[Path | None, typer.Option(help="Where to write report.html and so on. Default: the folder.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Write again whenever a run ends, until all have.")] = False,
    every: Annotated[float, typer.Option(min=0.05, metavar="SECONDS", help="How often --watch looks.")] = 5.0,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="Exit 1 when a cell leaves its window: 'rule: last' and 'expect:', a list of "
            "{method: SAM, noise: symmetric 40 %, low: 85, high: 95}; dataset, model and rule may be added.",
        ),
    ] = None,
) -> None:
    """Compare the records of suites; write a page, Markdown, CSV and JSON; print the main table."""
    from noisybench.cli.report import Options, report_on

    options = Options(accuracy, compare, verified_only, baseline, only or [], [f.strip() for f in forms.split(",")])
    raise typer.Exit(report_on(folders, options, out, check=check, every=every if watch else None))


@app.command()
def inject(
    dataset: Annotated[str, typer.Option(help="Data set name, or a YAML mapping: '{name: npz, path: a.npz}'.")],
    kind: Annotated[str, typer.Option(help="Kind of noise (see: noisybench list noise).")],
    out: Annotated[
        Path, typer.Option(help="File to write: .npz, .npy, .csv, .json (DivideMix) or .pt (CIFAR-N); and a sidecar.")
    ],
    rate: Annotated[float | None, typer.Option(help="Requested rate, 0 to 1.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Noise seed.")] = 0,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another parameter of the kind; repeatable.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the measured matrix with class names.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the measured matrix: FILE.svg or FILE.png.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    data_dir: DataDir = None,
    plugin: Plugins = None,
) -> None:
    """Corrupt a data set's training labels and save them."""
    from noisybench.cli.inject import inject_labels

    inject_labels(
        dataset,
        kind,
        out,
        rate=rate,
        seed=seed,
        sets=sets or [],
        show=show,
        plot=plot,
        overwrite=overwrite,
        data_dir=data_dir,
        plugins=plugin or [],
    )


@app.command()
def posterior(
    dataset: Annotated[str, typer.Option(help="Data set name, or a YAML mapping: '{name: npz, path: a.npz}'.")],
    out: Annotated[Path, typer.Option(help="npz to write; the noise 'pmd' reads it.")],
    model: Annotated[str, typer.Option(help="Network: a name or a YAML mapping.")] = "resnet34",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs; the last one is recorded.")] = 25,
    lr: Annotated[float, typer.Option(min=0.0, help="Learning rate, constant.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 128,
    share: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of the training images trained on.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Seed of split, network, order and augmentation.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    data_dir: DataDir = None,
    plugin: Plugins = None,
) -> None:
    """Train a network on clean labels and save the posterior that PMD noise is made from."""
    from noisybench.cli.posterior import write_posterior

    write_posterior(
        dataset,
        out,
        model=model,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        share=share,
        seed=seed,
        device=device,
        threads=threads,
        data_dir=data_dir,
        plugins=plugin or [],
    )


@app.command()
def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PART...]",
            help="training, overhead, workers, memory, startup, report, noise, scaling. Default: all but scaling.",
        ),
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="A network; repeatable. Default: resnet32.")] = None,
    optimizer: Annotated[list[str] | None, typer.Option(help="sgd or sam; repeatable. Default: both.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Turns; the median counts.")] = 3,
    images: Annotated[int, typer.Option(min=128, help="Training images a turn.")] = 2560,
    size: Annotated[int, typer.Option(min=1000, help="noise: labels to corrupt.")] = 10_000_000,
    records: Annotated[int, typer.Option(min=1000, help="report: records, in steps of 1,000.")] = 10_000,
    times: Annotated[
        Path | None, typer.Option(metavar="RUNS", help="scaling: take the seconds of the runs in this folder.")
    ] = None,
    cost: Annotated[
        float | None, typer.Option(min=0, help="scaling: driver seconds a run. Default: measured, local workers.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: one a core.")] = None,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON too.")] = None,
) -> None:
    """Measure speed on this machine: training against the textbook loop, overhead, studies, memory, noise."""
    from noisybench.cli.bench import run_bench

    run_bench(
        parts or [],
        models=model or ["resnet32"],
        optimizers=optimizer or ["sgd", "sam"],
        device=device,
        threads=threads,
        repeats=repeats,
        images=images,
        labels=size,
        records=records // 1000 * 1000,
        out=out,
        times=times,
        cost=cost,
    )


@app.command("list")
def list_(
    family: Annotated[
        str | None, typer.Argument(help="suites, literature, or a family: loss, noise, model, ...")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="literature: scores on this data set.")] = None,
    noise: Annotated[str | None, typer.Option(help="literature: scores under this kind of noise.")] = None,
    rate: Annotated[float | None, typer.Option(help="literature: scores at this nominal rate, 0 to 1.")] = None,
    method: Annotated[str | None, typer.Option(help="literature: scores of this method.")] = None,
    verified: Annotated[
        bool | None,
        typer.Option("--verified/--unverified", help="literature: scores read in a paper, or the others."),
    ] = None,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="literature: BibTeX entries to cite instead.")] = False,
    plugin: Plugins = None,
) -> None:
    """List suites, components and published sources; or the published scores that fit the filters."""
    from noisybench.cli.inspect import print_list
    from noisybench.cli.literature import Filters, print_literature

    filters = Filters(dataset, noise, rate, method, verified)
    if family == "literature":
        print_literature(filters, bibtex)
    elif filters.any or bibtex:
        raise InputError("filters and --bibtex belong to: noisybench list literature")
    else:
        print_list(family, plugin or [])


@app.command()
def show(
    name: Annotated[
        list[str], typer.Argument(help="A component (gce, or: loss gce), suite, source of scores, or citation key.")
    ],
    sets: Sets = None,
    plugin: Plugins = None,
) -> None:
    """Show a component's docstring, parameters, citation and published scores; or what a suite expands to."""
    from noisybench.cli.inspect import print_show

    print_show(":".join(name), sets or [], plugin or [])


@app.command()
def validate(
    suite: Annotated[str, typer.Argument(help="A YAML file or the name of a shipped suite.")],
    sets: Sets = None,
    data_dir: DataDir = None,
    plugin: Plugins = None,
) -> None:
    """Check a suite, count its runs and note what is missing here; train and write nothing."""
    from noisybench.cli.inspect import print_validation

    print_validation(suite, sets or [], plugin or [], data_dir)


@app.command()
def verify(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of settled runs, or of suites: all their runs."),
    ],
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train each run again, elsewhere, instead of evaluating its weights.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto (as the run was trained, if it is here), cpu, cuda.")] = "auto",
    data_dir: DataDir = None,
    plugin: Plugins = None,
) -> None:
    """Hold records against data, labels, files and stored weights, or a second training; exit 1 unless all hold."""
    from noisybench.cli.verify import verify_runs

    raise typer.Exit(verify_runs(runs, again=retrain, device=device, data_dir=data_dir, plugins=plugin or []))


Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs: runs/<suite>/<run id>.")]
Images = Annotated[int, typer.Option(min=0, help="Images of each set to look at; 0: all.")]
LossOf = Annotated[str, typer.Option("--loss", help="ce (comparable between runs) or own (the run's loss).")]
Network = Annotated[int, typer.Option(min=0, help="Which network, of a method that trains several.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]


@app.command()
def sharpness(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run: runs/<suite>/<run id>.")],
    rho: Annotated[
        list[float] | None, typer.Option("--rho", help="Radius of the ball; repeatable. Default: 0.05, 0.1, 0.5.")
    ] = None,
    images: Images = 2000,
    loss: LossOf = "ce",
    network: Network = 0,
    draws: Annotated[int, typer.Option(min=1, help="Random directions a radius.")] = 20,
    probes: Annotated[int, typer.Option(min=1, help="Random vectors for the trace.")] = 50,
    device: Device = "auto",
    threads: Threads = 1,
    data_dir: DataDir = None,
    plugin: Plugins = None,
) -> None:
    """Measure how sharp a run's minimum is, on noisy and clean training labels and on test data."""
    from noisybench.cli.sharpness import print_sharpness

    print_sharpness(
        run,
        rhos=rho or [0.05, 0.1, 0.5],
        images=images,
        loss=loss,
        network=network,
        draws=draws,
        probes=probes,
        device=device,
        threads=threads,
        data_dir=data_dir,
        plugins=plugin or [],
    )


@app.command()
def landscape(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="SVG to write; an npz goes beside it. Default: landscape.svg beside the runs.")
    ] = None,
    data: Annotated[str, typer.Option(help="train-noisy, train-clean or test.")] = "train-noisy",
    images: Images = 1000,
    loss: LossOf = "ce",
    network: Network = 0,
    points: Annotated[int, typer.Option(min=2, help="Grid points a direction.")] = 25,
    span: Annotated[float, typer.Option(help="How far to go, in lengths of each filter.")] = 1.0,
    ceiling: Annotated[float | None, typer.Option(help="Loss at which the figure is cut off.")] = None,
    seed: Annotated[int, typer.Option(help="Of the two directions.")] = 0,
    device: Device = "auto",
    threads: Threads = 1,
    data_dir: DataDir = None,
    plugin: Plugins = None,
) -> None:
    """Draw the loss around one or several runs on one scale, in filter-normalised directions (Li et al. 2018)."""
    from noisybench.cli.sharpness import draw_landscape

    draw_landscape(
        runs,
        out=out,
        data=data,
        images=images,
        loss=loss,
        network=network,
        points=points,
        span=span,
        ceiling=ceiling,
        seed=seed,
        device=device,
        threads=threads,
        data_dir=data_dir,
        plugins=plugin or [],
    )


reports.register(app)


def main() -> None:
    """Entry point: one line and an exit code for every error a user can act on."""
    try:
        app()
    except NoisybenchError as error:
        print(f"noisybench: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("noisybench: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:  # a disk, a folder, a permission: nothing that a traceback would help with
        place = f"{error.filename}: " if error.filename else ""
        print(f"noisybench: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)

"""The command ``ambigmnist``: data in, a folder out that somebody would want to look at.

Exit codes: 0 done, 1 failed (data, disk), 2 usage, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ambigmnist._command_io import say
from ambigmnist.errors import AmbigError, ArgumentError, AuditInterrupted

__all__ = ["main"]

DEFINITIONS = ["least_confident", "confident_wrong"]  # the article's two
AUDITED = ["least_confident", "confident_learning", "aum"]  # unsure; doubted from outside and in

# What there is to rank by: of one network, and what an audit adds, with the option that adds it.
FIELDS = {"probs", "labels", "images", "logits", "split", "in_sample"}
ADDED = {
    "embeddings": "",
    "nearest": "",
    "fold": "",
    "dynamics": "--history on",
    "members": "--members 3",
    "mc": "--mc 20",
    "draws": "--members 3 or --mc 20",
    "augmented": "--augment 8",
}

DESCRIPTION = """\
Find the ambiguous images of a labelled set: train a small network (or load one), rank every image,
and write a folder with a page, pictures and tables. No arguments are needed: MNIST is used if it is
on this machine or can be downloaded within 5 seconds, otherwise real digits that come with the
package."""
EPILOG = """\
commands:
  ambigmnist audit ...         judge every image, the training images too, by networks that never
                               saw it (ambigmnist audit --help)
  ambigmnist plant ...         a copy of the data with wrong labels and unclear images, to test with
  ambigmnist evaluate ...      how well an audit of such a copy finds them
  ambigmnist report ...        the page of an audit: to look, judge and correct
  ambigmnist review ...        merge what several people judged there; apply it to the data
  ambigmnist doctor [--json]   what this installation can do, where data was found, a self-test

exit codes: 0 done, 1 failed (data, disk), 2 usage, 130 interrupted"""
AUDIT = """\
Judge every image of a labelled set, the training images too: the images are dealt into folds, and
networks are trained without a fold to judge it. Writes a folder with a page, pictures, tables and
evidence.npz, which Evidence.load reads. Data as in ambigmnist --help."""

PLANT = """\
Copy the data with some labels made wrong and some images made unclear on purpose, and write down
which (truth.csv), to test definitions against. The folder is one that --data takes. Amounts are
numbers of images, or shares of all below 1. Data as in ambigmnist --help."""
EVALUATE = """\
How well an audit finds what was planted: average precision, AUROC, best F1, precision and recall
at k, with bootstrap intervals over the images."""

REPORT = """\
Write one HTML file to look at the images of an audit, judge and correct them: offline, without a
server. What is judged in it is exported as a review file, for ambigmnist review."""
REVIEW = """\
Merge the review files of several people, or apply one to the data that it is about."""
MERGE = """\
Put the decisions of several people about the same data together: what they agree on goes into one
review file; the conflicts are printed, with the agreement beyond chance (Cohen's kappa of two,
Fleiss's of more), and make a page of their own with --report."""
APPLY = """\
Write the data with the labels that a review decided on, in a folder that --data takes, and
weights.npz with soft labels and weights for training. Refused for other data than were reviewed;
applying twice changes no more than once. Data as in ambigmnist --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with `argv` (by default the process's arguments); returns the exit code."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # of argparse: --help, or a usage error that it has reported
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt as stop:
        if not isinstance(stop, AuditInterrupted):  # which has said more
            say("interrupted")
        return 130
    except (AmbigError, OSError, MemoryError) as error:
        say(f"error: {error or type(error).__name__}")
        return 1


def _run(argv: list[str]) -> int:
    if argv[:1] == ["doctor"]:
        from ambigmnist._command_doctor import doctor

        return doctor(_doctor_parser().parse_args(argv[1:]))
    if argv[:1] == ["audit"]:
        from ambigmnist._command_audit import run_audit

        parser = _audit_parser()
        args = parser.parse_args(argv[1:])
        _check_audit(parser, args)
        run_audit(args)
        return 0
    if argv[:1] == ["plant"]:
        from ambigmnist._command_plant import run_plant

        run_plant(_plant_parser().parse_args(argv[1:]))
        return 0
    if argv[:1] == ["evaluate"]:
        from ambigmnist._command_evaluate import run_evaluate

        run_evaluate(_evaluate_parser().parse_args(argv[1:]))
        return 0
    if argv[:1] == ["report"]:
        from ambigmnist._command_report import run_report

        run_report(_report_parser().parse_args(argv[1:]))
        return 0
    if argv[:1] == ["review"]:
        from ambigmnist import _command_review

        args = _review_parser().parse_args(argv[1:])
        {"merge": _command_review.run_merge, "apply": _command_review.run_apply}[args.job](args)
        return 0
    from ambigmnist._command_find import find

    parser = _parser()
    args = parser.parse_args(argv)
    _check(parser, args)
    find(args)
    return 0


def _common_parser(
    prog: str, description: str, epilog: str | None, split: str, by: list[str], out: str
) -> argparse.ArgumentParser:
    """Options that every job has."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--data",
        default="auto",
        metavar="auto|mnist|digits|PATH",
        help="PATH: a folder with four IDX files named like those of MNIST (default: auto)",
    )
    add(
        "--split",
        default=split,
        choices=("test", "train", "all"),
        help=f"which images to rank (default: {split})",
    )
    add("--preset", help='how to train: "fast", or "seed" as the article did (default: fast)')
    add("--seed", type=_seed, help="of everything random (default: 0)")
    add("--top", type=_positive, default=12, metavar="N", help="length of the lists (default: 12)")
    add(
        "--by",
        action="append",
        metavar="DEFINITION",
        help=f"what ambiguous means; repeatable (default: {', '.join(by)})",
    )
    add("--out", default=out, metavar="DIR", help=f"default: {out}")
    add("--threads", type=_positive, metavar="N", help="results do not depend on it")
    add("--json", action="store_true", help="print summary.json instead of a table")
    add("--quiet", action="store_true", help="no progress; warnings and errors still show")
    _add_version(parser)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = _common_parser(
        "ambigmnist", DESCRIPTION, EPILOG, "test", DEFINITIONS, "ambigmnist-out"
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="rank with this network (safetensors or Keras h5)",
    )
    return parser


def _audit_parser() -> argparse.ArgumentParser:
    parser = _common_parser("ambigmnist audit", AUDIT, None, "all", AUDITED, "ambigmnist-audit")
    add = parser.add_argument
    add("--folds", type=_several, default=5, metavar="N", help="default: 5")
    add("--members", type=_positive, default=1, metavar="N", help="networks per fold (default: 1)")
    add(
        "--mc",
        type=_none_or_several,
        default=0,
        metavar="N",
        help="passes with dropout, of every network (default: 0)",
    )
    add(
        "--augment",
        type=_none_or_several,
        default=0,
        metavar="N",
        help="shifted and turned versions of each image to judge (default: 0)",
    )
    add(
        "--history",
        default="on",
        choices=("off", "on", "full"),
        help="of what training saw of each image; full: gradients, too (default: on)",
    )
    add("--epochs", type=_positive, metavar="N", help="default: as the preset has it")
    add(
        "--checkpoint",
        metavar="DIR",
        help="keep finished networks' results here, and go on from those that are there",
    )
    return parser


def _plant_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ambigmnist plant",
        description=PLANT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", default="auto", metavar="auto|mnist|digits|PATH", help="default: auto")
    for name, what in (
        ("flips", "wrong labels"),
        ("blends", "images with another class blended in"),
        ("occlusions", "images with most of the ink hidden"),
        ("noises", "images with most pixels shuffled"),
    ):
        add(f"--{name}", type=_amount, default=0, metavar="N", help=f"{what} (default: 0)")
    add(
        "--flip",
        default="uniform",
        choices=("uniform", "pairs", "instance"),
        help="to any class, the next one, or what a weak network takes it for (default: uniform)",
    )
    add(
        "--morph",
        default="both",
        choices=("both", "pixel", "elastic", "sharp"),
        help="blends by overlay, by bending strokes, in turns, or without grey (default: both)",
    )
    add("--seed", type=_seed, default=0, help="default: 0")
    add("--out", default="ambigmnist-planted", metavar="DIR", help="default: ambigmnist-planted")
    add("--threads", type=_positive, metavar="N", help="results do not depend on it")
    add("--json", action="store_true", help="print summary.json instead of a table")
    add("--quiet", action="store_true", help="no progress; warnings and errors still show")
    _add_version(parser)
    return parser


def _evaluate_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ambigmnist evaluate",
        description=EVALUATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("evidence", type=Path, help="evidence.npz of an audit of the planted data, or its folder")
    add("truth", type=Path, help="truth.csv, or the folder that ambigmnist plant wrote")
    add(
        "--kind",
        default="any",
        choices=("any", "flip", "blend", "occlusion", "noise"),
        help="what is to be found (default: any)",
    )
    add(
        "--by",
        action="append",
        metavar="DEFINITION",
        help='repeatable; "verdict": the probability that verdicts() gives (default: all)',
    )
    add("-k", type=_positive, help="of precision and recall (default: as many as are planted)")
    add("--resamples", type=_count, default=200, metavar="N", help="default: 200; 0: no intervals")
    add("--json", action="store_true", help="print JSON instead of a table")
    _add_version(parser)
    return parser


def _report_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ambigmnist report",
        description=REPORT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("evidence", type=Path, help="evidence.npz of an audit, or the folder that it wrote")
    add("--out", type=_path, default="report.html", metavar="FILE", help="default: report.html")
    add("--top", type=_positive, default=1000, metavar="N", help="images at most (default: 1000)")
    add(
        "--by",
        action="append",
        metavar="DEFINITION",
        help="an order; repeatable, the first is that of the start (default: all usual ones)",
    )
    add("--no-details", action="store_true", help="without neighbours: a third of the size")
    add("--name", default="", help="of the data, as the page shows it")
    add(
        "--conflicts",
        nargs="+",
        type=Path,
        metavar="REVIEW",
        help="only images that these review files judge differently",
    )
    add("--threads", type=_positive, metavar="N", help="results do not depend on it")
    _add_version(parser)
    return parser


def _review_parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="ambigmnist review", description=REVIEW, allow_abbrev=False
    )
    _add_version(parser)
    jobs = parser.add_subparsers(dest="job", required=True, metavar="merge|apply")
    merge = jobs.add_parser("merge", description=MERGE, formatter_class=shape, allow_abbrev=False)
    add = merge.add_argument
    add("reviews", nargs="+", type=Path, metavar="REVIEW", help="review files of the same data")
    add("--out", type=_path, default="merged.json", metavar="FILE", help="default: merged.json")
    add("--report", type=Path, metavar="FILE", help="write a page of the conflicts")
    add("--evidence", type=Path, metavar="AUDIT", help="for --report: evidence.npz or its folder")
    add("--json", action="store_true", help="print JSON instead of a table")
    apply = jobs.add_parser("apply", description=APPLY, formatter_class=shape, allow_abbrev=False)
    add = apply.add_argument
    add("review", type=Path, metavar="REVIEW", help="a review file")
    add("--data", default="auto", metavar="auto|mnist|digits|PATH", help="default: auto")
    add(
        "--out", default="ambigmnist-corrected", metavar="DIR", help="default: ambigmnist-corrected"
    )
    add("--undo", action="store_true", help="take the decisions back")
    add(
        "--ambiguous",
        default="keep",
        choices=("keep", "class"),
        help="images of two readings keep their label, or get a class of their own (default: keep)",
    )
    add("--npz", action="store_true", help="data.npz instead of four IDX files")
    add("--json", action="store_true", help="print summary.json instead of a table")
    add("--quiet", action="store_true", help="no progress; warnings and errors still show")
    return parser


def _doctor_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ambigmnist doctor",
        description="Shows what this installation can do and where data was found; tests itself.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    from ambigmnist import __version__

    parser.add_argument("--version", action="version", version=f"ambigmnist {__version__}")


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a file, got nothing")
    return Path(text)


def _positive(text: str) -> int:
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def _count(text: str) -> int:
    value = _integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected at least 0, got {value}")
    return value


def _amount(text: str) -> float:
    """A number of images, or a share of them."""
    with suppress(ValueError):
        return int(text)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(
            f"expected a number of images, or a share below 1, got {text[:40]!r}"
        )
    return value


def _seed(text: str) -> int:
    value = _integer(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected 0 to 2**63 - 1, got {value}")
    return value


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer, got {text[:40]!r}") from None


def _several(text: str) -> int:
    value = _integer(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"expected at least 2, got {value}")
    return value


def _none_or_several(text: str) -> int:
    value = _integer(text)
    if value != 0 and value < 2:
        raise argparse.ArgumentTypeError(f"expected 0 or at least 2, got {value}")
    return value


# What can be known to be wrong before any work; leaves by parser.error.


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.model is None:
        _check_training(parser, args)
    else:
        for name in ("preset", "seed"):
            if getattr(args, name) is not None:
                parser.error(f"--{name} has no meaning with --model: that network is trained")
    _check_common(
        parser, args, DEFINITIONS, FIELDS, lambda need: ", which one network does not give"
    )


def _check_audit(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    _check_training(parser, args)
    given = {
        "dynamics": args.history != "off",
        "members": args.members > 1,
        "mc": args.mc > 0,
        "draws": args.members > 1 or args.mc > 0,
        "augmented": args.augment > 0,
    }
    if args.by is None and args.history == "off":
        args.by = [name for name in AUDITED if name != "aum"]
    known = FIELDS | {name for name in ADDED if given.get(name, True)}
    _check_common(
        parser,
        args,
        AUDITED,
        known,
        lambda need: f": {ADDED[need]}" if ADDED.get(need) else ", which an audit does not give",
    )
    gradients = [name for name in args.by if name in ("grand", "vog")]
    if gradients and args.history != "full":
        parser.error(f"--by: {gradients[0]} needs gradients: --history full")
    if args.checkpoint == "":
        parser.error("--checkpoint: expected the name of a folder, got nothing")


def _check_training(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    from ambigmnist._network import PRESETS, choice

    args.preset = args.preset or "fast"
    args.seed = args.seed or 0
    try:
        choice(args.preset, "preset", tuple(PRESETS))
    except ArgumentError as error:
        parser.error(f"--{error}")


def _check_common(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    by: list[str],
    known: set[str],
    why_not: Callable[[str], str],
) -> None:
    from ambigmnist.definitions import find

    args.by = list(dict.fromkeys(args.by or by))
    try:
        for name in args.by:
            for need in find(name).needs:
                if need not in known:
                    parser.error(f"--by: {name} needs {need}{why_not(need)}")
    except ArgumentError as error:
        parser.error(f"--{error}")
    if not args.out:
        parser.error("--out: expected the name of a folder, got nothing")

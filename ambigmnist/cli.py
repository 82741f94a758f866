"""The command ``ambigmnist``: data in, a folder out that somebody would want to look at.

Exit codes: 0 done, 1 failed (data, disk), 2 usage, 130 interrupted.
"""

import argparse
import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ambigmnist.errors import AmbigError, ArgumentError, DataError, DataNotFoundError, FileError

if TYPE_CHECKING:
    from ambigmnist.datasets import Dataset
    from ambigmnist.evidence import Evidence
    from ambigmnist.model import CNN

__all__ = ["main"]

DEFINITIONS = ["least_confident", "confident_wrong"]  # the article's two
DOWNLOAD_SECONDS = 5.0
SHOWN = 12  # rows of the table that is printed
KNOWN_FIELDS = {"probs", "labels", "images", "logits", "split"}  # of the evidence made here

DESCRIPTION = """\
Find the ambiguous images of a labelled set: train a small network (or load one), rank every image,
and write a folder with a page, pictures and tables. No arguments are needed: MNIST is used if it is
on this machine or can be downloaded within 5 seconds, otherwise real digits that come with the
package."""
EPILOG = """\
commands:
  ambigmnist doctor [--json]   what this installation can do, where data was found, a self-test

exit codes: 0 done, 1 failed (data, disk), 2 usage, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with `argv` (by default the process's arguments); returns the exit code."""
    try:
        argv = list(sys.argv[1:] if argv is None else argv)
        if argv[:1] == ["doctor"]:
            return _doctor(_doctor_parser().parse_args(argv[1:]))
        parser = _parser()
        args = parser.parse_args(argv)
        _check(parser, args)
        return _find(args)
    except SystemExit as stop:  # of argparse: --help, or a usage error that it has reported
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except (AmbigError, OSError, MemoryError) as error:
        _say(f"error: {error or type(error).__name__}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ambigmnist",
        description=DESCRIPTION,
        epilog=EPILOG,
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
        default="test",
        choices=("test", "train", "all"),
        help="which images to rank (default: test)",
    )
    add("--preset", help='how to train: "fast", or "seed" as the article did (default: fast)')
    add("--seed", type=_seed, help="of everything random (default: 0)")
    add("--top", type=_positive, default=12, metavar="N", help="length of the lists (default: 12)")
    add(
        "--by",
        action="append",
        metavar="DEFINITION",
        help=f"what ambiguous means; repeatable (default: {', '.join(DEFINITIONS)})",
    )
    add(
        "--model",
        type=Path,
        metavar="FILE",
        help="rank with this network (safetensors or Keras h5)",
    )
    add("--out", default="ambigmnist-out", metavar="DIR", help="default: ambigmnist-out")
    add("--threads", type=_positive, metavar="N", help="results do not depend on it")
    add("--json", action="store_true", help="print summary.json instead of a table")
    add("--quiet", action="store_true", help="no progress; warnings and errors still show")
    _add_version(parser)
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


def _positive(text: str) -> int:
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
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


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What can be known to be wrong before any work; leaves by parser.error."""
    from ambigmnist.definitions import find

    args.by = list(dict.fromkeys(args.by or DEFINITIONS))
    try:
        for name in args.by:
            for need in find(name).needs:
                if need not in KNOWN_FIELDS:
                    parser.error(f"--by: {name} needs {need}, which one network does not give")
    except ArgumentError as error:
        parser.error(f"--{error}")
    if args.model is not None:
        for name in ("preset", "seed"):
            if getattr(args, name) is not None:
                parser.error(f"--{name} has no meaning with --model: that network is trained")
    else:
        from ambigmnist._network import PRESETS, choice

        args.preset = args.preset or "fast"
        args.seed = args.seed or 0
        try:
            choice(args.preset, "preset", tuple(PRESETS))
        except ArgumentError as error:
            parser.error(f"--{error}")
    if not args.out:
        parser.error("--out: expected the name of a folder, got nothing")


def _find(args: argparse.Namespace) -> int:
    """The main job."""
    from ambigmnist._folder import OutputFolder
    from ambigmnist._output import Result, file_names, write_result

    def progress(text: str) -> None:
        if not args.quiet:
            _say(text)

    with _threads(args.threads), OutputFolder(args.out) as folder:
        folder.require_free(file_names(args.by))
        # Whatever can fail soon, fails before the training.
        model = None if args.model is None else _load_model(args.model)
        train, test, notes = _load_data(args.data, progress)
        both = _joined(train, test, model)
        progress(
            f"{train.name}: {len(train):,} training and {len(test):,} test images, "
            f"{' x '.join(map(str, train.images.shape[1:]))}"
        )
        if model is None:
            model = _train(args, train, progress)
            metadata = _fitted_to(model, train)
        else:
            metadata = model.metadata_
        in_sample = _in_sample(metadata, train, test)
        progress("looking at every image")
        ev = model.evidence(both.images, both.labels, split=both.split)
        index = np.concatenate([np.arange(len(train)), np.arange(len(test))])
        parts = {"train": slice(0, len(train)), "test": slice(len(train), len(both))}
        rows = parts.get(args.split, slice(None))
        result = Result(
            data=both[rows],
            split=np.asarray(both.split)[rows],
            index=index[rows],
            in_sample=in_sample[rows],
            evidence=ev[rows],
            model=model,
            metadata=metadata,
            by=args.by,
            top=args.top,
            summary=_summary(args, train, test, model, {n: ev[part] for n, part in parts.items()}),
            notes=notes,
        )
        progress("drawing")
        with folder.update() as stage:
            summary = write_result(stage, result)
    page = (folder.path / "index.html").absolute()
    _put(json.dumps(summary, indent=1) if args.json else _table(summary, page))
    return 0


def _load_data(choice: str, progress: Any) -> tuple["Dataset", "Dataset", list[str]]:
    """The training part, the test part, and what the reader must know about them."""
    from ambigmnist.datasets import _load_mnist, find_mnist, load_digits, load_mnist

    if choice == "digits":
        return *load_digits(), []
    if choice == "mnist":
        return *load_mnist(download=True), []
    if choice != "auto":
        return *_load_folder(choice), []
    found = find_mnist()
    if found is None:
        progress(f"MNIST is not on this machine; trying to fetch it ({DOWNLOAD_SECONDS:.0f} s)")
    try:
        # Nothing is fetched where it is in order; in our own cache, what is damaged.
        return *_load_mnist(None, download=True, timeout=DOWNLOAD_SECONDS), []
    except (DataNotFoundError, FileError) as error:
        if found is not None:
            if found.source != "cache":
                raise
            _say(f"the copy of MNIST in {found.path} cannot be used: {error}")
        train, test = load_digits()
    what = "was not found on this machine" if found is None else "could not be read from the cache"
    note = (
        f"This is not MNIST: it {what} and could not be downloaded. Used instead: the embedded "
        f"set of {len(train) + len(test):,} real handwritten digits (UCI, 8 x 8, enlarged)."
    )
    advice = (
        "For MNIST, name the folder with its four files in AMBIGMNIST_DATA, or use --data PATH."
    )
    if (named := os.environ.get("AMBIGMNIST_DATA")) and found is None:
        advice = f"AMBIGMNIST_DATA names {named}, which does not have MNIST's four files."
    line = "*" * 78
    _say("\n".join(["", line, *textwrap.wrap(note, 78), *textwrap.wrap(advice, 78), line]))
    return train, test, [note]


def _load_folder(path: str) -> tuple["Dataset", "Dataset"]:
    """A folder with four IDX files: MNIST, or anything in its form."""
    from ambigmnist._mnist import find_mnist, not_found
    from ambigmnist.datasets import Dataset, load_idx, load_mnist

    location = find_mnist(path)
    if location is None:
        raise not_found(path)
    try:
        return load_mnist(path=path)  # if it is the real one
    except DataError:
        if not location.files:
            raise
    name = location.path.resolve().name
    train, test = (
        Dataset(part.images, part.labels, name=name, split=split)
        for part, split in (
            (load_idx(*location.files[:2]), "train"),
            (load_idx(*location.files[2:]), "test"),
        )
    )
    return train, test


def _joined(train: "Dataset", test: "Dataset", model: "CNN | None") -> "Dataset":
    """Both parts, once it is sure that they fit each other and the network."""
    for part, name in ((train, "training"), (test, "test")):
        if len(part) == 0:
            raise DataError(f"{part.name}: expected {name} images, got none")
    both = train + test
    assert train.labels is not None
    assert both.labels is not None
    known = np.unique(train.labels) if model is None else model.classes_
    unknown = np.setdiff1d(both.labels, known)
    if len(unknown):
        whose = "the training images" if model is None else "the model"
        raise DataError(
            f"{both.name}: label {unknown[0]!s} (and {len(unknown) - 1} more) is none of the "
            f"{len(known)} classes of {whose}"
        )
    return both


def _load_model(path: Path) -> "CNN":
    """A model file; its first bytes say which kind it is."""
    from ambigmnist._keras import is_hdf5
    from ambigmnist.model import CNN

    return CNN.from_keras(path) if is_hdf5(path) else CNN.load(path)


def _train(args: argparse.Namespace, train: "Dataset", progress: Any) -> "CNN":
    from ambigmnist.model import CNN

    model = CNN(preset=args.preset, seed=args.seed, threads=args.threads)
    start = time.monotonic()
    assert train.labels is not None
    model.fit(train.images, train.labels, verbose=0 if args.quiet else None)
    progress(f"trained in {time.monotonic() - start:.1f} s")
    return model


def _fitted_to(model: "CNN", train: "Dataset") -> dict[str, str]:
    """What the model's file says, so that a later run knows which images it was fitted to.

    ``trained_on`` is the SHA-256 of the training part, ``trained_on_first`` how many of its images
    took part: the presets hold out none, or the last ones.
    """
    count = len(model.train_index_)
    if int(model.train_index_.max()) >= count:
        return {"trained_on": train.sha256}
    return {"trained_on": train.sha256, "trained_on_first": str(count)}


def _in_sample(metadata: dict[str, str], train: "Dataset", test: "Dataset") -> list[bool | None]:
    """Whether the model was fitted to each image of both parts; None where nothing says so."""
    if metadata.get("trained_on") != train.sha256:
        return [None] * (len(train) + len(test))
    said = metadata.get("trained_on_first", "")
    count = int(said) if re.fullmatch("[0-9]{1,18}", said) else None
    rows = [None if count is None else i < count for i in range(len(train))]
    return [*rows, *[False] * len(test)]


def _summary(
    args: argparse.Namespace,
    train: "Dataset",
    test: "Dataset",
    model: "CNN",
    parts: dict[str, "Evidence"],
) -> dict[str, Any]:
    from ambigmnist.config import show_config

    config = show_config(mode="object")
    assert config is not None
    titles = {"mnist": "MNIST", "digits": "the UCI digits"}
    return {
        "version": config.version,
        "data": {
            "name": train.name,
            "title": titles.get(train.name, train.name),
            "sha256": {"train": train.sha256, "test": test.sha256},
            "images": {"train": len(train), "test": len(test)},
            "shape": list(train.images.shape[1:]),
            "classes": model.classes_.tolist(),
        },
        "model": {
            "file": None if args.model is None else args.model.name,
            "preset": args.preset,
            "seed": args.seed,
            "epochs": len(model.history.get("loss", ())) or None,
        },
        "threads": config.threads,
        "isa": config.instruction_set,
        "strict": config.strict,
        "evaluation": {
            split: {
                "images": ev.n,
                "wrong": int((ev.given_index != ev.predicted_index).sum()),
                "accuracy": ev.accuracy,
                # JSON has no infinity.
                "log_loss": ev.log_loss if np.isfinite(ev.log_loss) else None,
            }
            for split, ev in parts.items()
        },
        "ranked": {
            "split": args.split,
            "splits": ["train", "test"] if args.split == "all" else [args.split],
            "by": args.by,
            "top": args.top,
        },
    }


def _table(summary: dict[str, Any], page: Path) -> str:
    """What is printed: the numbers, then the first of each list side by side."""
    from ambigmnist._tables import text_table

    numbers = text_table(
        ("", "accuracy", "log loss", "wrong"),
        [
            (
                split,
                f"{found['accuracy'] * 100:.2f} %",
                "infinite" if found["log_loss"] is None else f"{found['log_loss']:.6f}",
                f"{found['wrong']:,} of {found['images']:,}",
            )
            for split, found in summary["evaluation"].items()
        ],
    )
    several = len(summary["ranked"]["splits"]) > 1
    lists = list(summary["top"].values())
    rows = []
    for i in range(min(SHOWN, max(map(len, lists)))):
        cells = [_cell(found[i], several) if i < len(found) else "" for found in lists]
        rows.append((f"{i + 1:>4}", *cells))
    ranking = text_table(("rank", *summary["top"]), rows)
    return (
        f"{summary['data']['title']}\n{numbers}\n\n"
        f"Most ambiguous: image (read as->label) score\n{ranking}\n\n{page}"
    )


def _cell(item: dict[str, Any], several: bool) -> str:
    which = f"{item['split']} {item['index']}" if several else f"{item['index']}"
    return f"{which} ({item['predicted']}->{item['given']}) {item['score']:.4f}"


def _doctor(args: argparse.Namespace) -> int:
    """What this installation can do; 1 if it does not work."""
    from ambigmnist._mnist import find_mnist
    from ambigmnist.config import show_config

    config = show_config(mode="object")
    assert config is not None
    location = find_mnist()
    checks = list(_self_test())
    good = all(problem is None for _, problem in checks)
    if args.json:
        found = {
            "version": config.version,
            "python": config.python,
            "numpy": config.numpy,
            "machine": config.machine,
            "isa": config.instruction_set,
            "isa_available": list(config.available),
            "strict": config.strict,
            "threads": config.threads,
            "threads_from": config.threads_from,
            "mnist": None if location is None else str(location.path),
            "mnist_from": None if location is None else location.source,
            "self_test": {name: problem or "ok" for name, problem in checks},
        }
        _put(json.dumps(found, indent=1))
    else:
        data = "not found: the embedded digits are used" if location is None else str(location)
        lines = [repr(config), f"MNIST            {data}", "", "self-test"]
        lines += [f"  {name:<48} {problem or 'ok'}" for name, problem in checks]
        _put("\n".join(lines))
    return 0 if good else 1


def _self_test() -> Iterator[tuple[str, str | None]]:
    """(what was tried, what went wrong or None): the core at work, in about a second."""
    from ambigmnist import _ambigcore
    from ambigmnist.datasets import load_digits
    from ambigmnist.layers import conv2d_forward
    from ambigmnist.model import CNN
    from ambigmnist.ranking import rank

    # Random123's known answer for Philox4x32-10, all bits of counter and key set.
    expected = (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    got = _ambigcore.philox4x32((2**32 - 1,) * 4, (2**32 - 1,) * 2)
    yield "random numbers", None if got == expected else f"expected {expected}, got {got}"

    train, test = load_digits()
    assert train.labels is not None
    x = train.images[:4, :, :, None] / np.float32(255)
    w = (np.arange(9 * 5, dtype=np.float32).reshape(3, 3, 1, 5) - 22) / 22
    windows = np.lib.stride_tricks.sliding_window_view(x[..., 0].astype(np.float64), (3, 3), (1, 2))
    exact = np.einsum("nhwij,ijc->nhwc", windows, w[:, :, 0].astype(np.float64))
    off = float(np.abs(conv2d_forward(x, w, np.zeros(5, np.float32)) - exact).max())
    limit = 1e-5 * float(np.abs(exact).max())
    yield "convolution", None if off <= limit else f"off by {off:.3g}, expected at most {limit:.3g}"

    layers: list[Any] = [("conv", 4, 3), "relu", ("maxpool", 2), "flatten", ("dense", 10)]
    scores = []
    losses = []
    for threads in (1, 2):
        model = CNN(layers=layers, epochs=2, seed=0, threads=threads)
        model.fit(train.images[:256], train.labels[:256], verbose=0)
        losses.append(model.history["loss"])
        scores.append(rank(model.evidence(test.images, test.labels)).scores)
    first, last = float(losses[0][0]), float(losses[0][-1])
    yield "training", None if last < first else f"the loss went from {first:.4g} to {last:.4g}"
    same = np.array_equal(scores[0], scores[1])
    yield "same bits with one thread and two", None if same else "they differ"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """`count` threads for everything inside; None changes nothing."""
    from ambigmnist import _ambigcore
    from ambigmnist.config import set_num_threads

    before = _ambigcore.get_num_threads()
    if count is not None:
        set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before or None)


def _say(text: str) -> None:
    """A line on stderr; nobody reading it is no reason to stop."""
    with suppress(OSError, ValueError):
        print(_encodable(f"ambigmnist: {text}", sys.stderr), file=sys.stderr, flush=True)


def _put(text: str) -> None:
    """The result on stdout. A reader who has left (``| head``) is no failure; a full disk is."""
    try:
        print(_encodable(text, sys.stdout), flush=True)
    except OSError as error:
        # Otherwise the interpreter tries again at its end, and complains.
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise FileError(f"standard output: cannot be written: {error.strerror}") from error


def _encodable(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)

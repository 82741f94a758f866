"""The images that the command works on: MNIST, the embedded digits, or a folder."""

import os
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ambigmnist._command_io import say
from ambigmnist.errors import DataError, DataNotFoundError, FileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ambigmnist.datasets import Dataset

__all__ = ["described", "joined", "load_data"]

DOWNLOAD_SECONDS = 5.0


def load_data(choice: str, progress: Any) -> tuple["Dataset", "Dataset", list[str]]:
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
            say(f"the copy of MNIST in {found.path} cannot be used: {error}")
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
    say("\n".join(["", line, *textwrap.wrap(note, 78), *textwrap.wrap(advice, 78), line]))
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


def joined(train: "Dataset", test: "Dataset", classes: "NDArray[Any] | None" = None) -> "Dataset":
    """Both parts, once it is sure that they fit each other and, where given, a model's classes."""
    for part, name in ((train, "training"), (test, "test")):
        if len(part) == 0:
            raise DataError(f"{part.name}: expected {name} images, got none")
    both = train + test
    assert train.labels is not None
    assert both.labels is not None
    known = np.unique(train.labels) if classes is None else classes
    unknown = np.setdiff1d(both.labels, known)
    if len(unknown):
        whose = "the training images" if classes is None else "the model"
        raise DataError(
            f"{both.name}: label {unknown[0]!s} (and {len(unknown) - 1} more) is none of the "
            f"{len(known)} classes of {whose}"
        )
    return both


def described(train: "Dataset", test: "Dataset") -> str:
    """Both parts in a line."""
    return (
        f"{train.name}: {len(train):,} training and {len(test):,} test images, "
        f"{' x '.join(map(str, train.images.shape[1:]))}"
    )

"""Makes ambigmnist/data/digits.npz from the copy of the UCI digits inside scikit-learn.

Run: python tests/tools/make_digits.py [path]
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

DEFAULT = Path(__file__).parents[2] / "ambigmnist" / "data" / "digits.npz"


def main(path: Path) -> None:
    digits = load_digits()
    images = digits.images.astype(np.uint8)  # whole numbers 0..16
    labels = digits.target.astype(np.uint8)
    if not np.array_equal(images, digits.images) or images.max() != 16:
        raise SystemExit("scikit-learn's digits are not the whole numbers 0..16 expected here")
    # NumPy writes a fixed date into the archive: the same arrays give the same file.
    np.savez_compressed(path, images=images, labels=labels)
    print(f"{path}: {len(labels)} digits, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)

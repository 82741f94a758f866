"""One fresh process from its start to an evaluated model, by preset "fast". Run by compare.py.

    python bench/whole.py NAME FOLDER [--seed 0] [--threads 2] [--epochs 3] [--images N]

FOLDER holds images.npy, labels.npy, test_images.npy, test_labels.npy for the peers; ours reads
MNIST itself. Prints one line of JSON: accuracy and the peak of its resident memory.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np


def ours(options: argparse.Namespace) -> float:
    import ambigmnist as am

    try:
        train, test = am.load_mnist()
    except am.AmbigError:
        train, test = am.load_digits()
    model = am.CNN("fast", epochs=options.epochs, seed=options.seed, threads=options.threads)
    model.fit(train.images[: options.images], train.labels[: options.images], verbose=0)
    return model.score(test.images, test.labels)


def glorot(seed: int) -> dict[str, np.ndarray]:
    from peers import SHAPES

    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in SHAPES.items():
        weights[name] = np.zeros(shape, np.float32)
        if len(shape) > 1:
            window = int(np.prod(shape[:-2]))
            bound = np.sqrt(6 / (window * (shape[-2] + shape[-1])))
            weights[name] = random.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def theirs(options: argparse.Namespace) -> float:
    from peers import RECIPES, contestant, steps_of

    recipe = RECIPES["fast"]
    names = ("images", "labels", "test_images", "test_labels")
    x, y, test_x, test_y = (np.load(options.folder / f"{name}.npy") for name in names)
    x, y = x[: options.images], y[: options.images]
    rates = recipe.rates(options.epochs * steps_of(x, recipe.batch))
    peer = contestant(options.name)(recipe, glorot(options.seed), rates, options.threads)
    peer.load(x, y)
    for _ in range(options.epochs):
        peer.epoch()
    parts = [peer.predictor(test_x[i : i + 1000])() for i in range(0, len(test_x), 1000)]
    return float((np.concatenate(parts).argmax(1) == test_y).mean())


def peak_mib() -> float:
    """VmHWM, which also counts what the libraries occupy."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=None)
    options = parser.parse_args()
    accuracy = (ours if options.name == "ambigmnist" else theirs)(options)
    result = {"accuracy": accuracy, "peak_mib": peak_mib()}
    if options.name == "ambigmnist":
        result["matplotlib"] = "matplotlib" in sys.modules
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

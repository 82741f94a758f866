"""Fits the model of `ambigmnist.verdicts` on half A of planted MNIST.

    python bench/fit_verdicts.py [--write]

`--write` puts the coefficients into ambigmnist/data/verdicts.json. Audits are those of
`_planted.py`; `planted.py` tells how good it is.

Truth. Flips, blends and occlusion are planted. Of an image that nothing was done to, another audit,
of unplanted data, tells more: where its three networks all give the label at least 0.99, the image
is model_weak if the networks in question read something else, and clean otherwise. Where they do
not, it may be ambiguous or model_weak, and clean if it is read as labelled: MNIST was written to be
read. Where they contradict the label, it may be anything, and is left out.

The likelihood of a row is the sum over the verdicts that it may have. Each set has its own shares,
which are known; their logarithms are added to the scores, so that the coefficients are those of
equal shares.
"""

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import _common
import _planted
import numpy as np

FITTED = Path(__file__).parents[1] / "ambigmnist" / "data" / "verdicts.json"
SETS = ("uniform", "pairs", "instance", "mixed", "mixed-instance", "sharp", *_planted.WEAK)
AGREED, DISPUTED = 0.99, 0.1  # p of the label
SHRINKAGE = 1.0
EXTREME = 0.001  # so many images may lie beyond what the model tells apart, on either side
# Of images that nothing was done to and that networks are not sure of, a guess for the shares of
# what they may be.
UNSURE = np.array([0.2, 0, 0.4, 0.4, 0])
NEVER = -1e3
# Images that nobody doubts tell little: one in 20 stands for all.
PLAIN, EVERY = 5.0, 20  # log odds of the label


class Rows(NamedTuple):
    """Some images: features (n, f), verdicts they may have and log shares (n, 5), weight (n,)."""

    x: np.ndarray
    possible: np.ndarray
    log_shares: np.ndarray
    weight: np.ndarray


def main() -> None:
    options = _common.arguments(
        __doc__.splitlines()[0],
        lambda parser: parser.add_argument("--write", action="store_true"),
    )
    machine = _common.setup(options.threads)
    from ambigmnist._verdict_features import GROUPS

    nothing = _planted.load("nothing").ev
    sets = {name: _planted.load(name) for name in SETS}
    optional = [group for group in GROUPS if group != "probs"]
    models, results = {}, []
    for size in range(len(optional) + 1):
        for some in itertools.combinations(optional, size):
            groups = ("probs", *some)
            models[",".join(groups)] = fit(sets, nothing, groups, results)
    if options.write:
        FITTED.write_text(json.dumps({"models": models}, indent=1) + "\n")
        print(f"written: {FITTED}")
    _common.write(options, "fit_verdicts", machine, results)


def sure_labels(ev: Any) -> np.ndarray:
    """Whether all networks give the label, (n,)."""
    return (ev.members[:, np.arange(ev.n), ev.given_index] >= AGREED).all(axis=0)


def possible_verdicts(planted: Any, nothing: Any) -> np.ndarray:
    """Which of `VERDICTS` each image may have, (n, 5) bool; none: not known."""
    from ambigmnist.verdict import VERDICTS

    clean, mislabelled, ambiguous, weak, unreadable = range(len(VERDICTS))
    step, ev = planted.step, planted.ev
    kind = planted.truth.kind[::step]
    none, sure = kind == "none", sure_labels(nothing)[::step]
    misread = ev.predicted_index != ev.given_index
    possible = np.zeros((ev.n, len(VERDICTS)), bool)
    possible[none & sure & ~misread, clean] = True
    possible[none & sure & misread, weak] = True
    p_label = nothing.probs[np.arange(nothing.n), nothing.given_index][::step]
    unsure = none & ~sure & (p_label >= DISPUTED)
    possible[np.ix_(unsure, UNSURE > 0)] = True
    possible[misread, clean] = False
    for name, verdict in (("flip", mislabelled), ("blend", ambiguous), ("occlusion", unreadable)):
        possible[kind == name, verdict] = True
    return possible


def rows_of(planted: Any, nothing: Any, groups: tuple[str, ...]) -> Rows:
    """Half A of a set."""
    from ambigmnist._verdict_features import features

    if "members" not in groups:
        planted = planted._replace(ev=_planted.of_one_member(planted.ev))
    possible = possible_verdicts(planted, nothing)
    used = _planted.half_a(nothing.n)[:: planted.step] & possible.any(axis=1)
    x, possible = features(planted.ev, groups)[used], possible[used]
    unsure = possible.sum(axis=1) > 1
    guess = possible[unsure] * UNSURE
    guess /= guess.sum(axis=1, keepdims=True)
    counts = possible[~unsure].sum(axis=0) + guess.sum(axis=0) + 0.5
    plain = possible[:, 0] & ~unsure & (x[:, 0] > PLAIN)
    weight = np.where(plain, EVERY, 1.0)
    kept = ~plain | (np.cumsum(plain) % EVERY == 0)
    log_shares = np.tile(np.log(counts / counts.sum()), (len(x), 1))
    log_shares[x[:, 0] < 0, 0] = NEVER  # misread: not clean
    return Rows(x[kept], possible[kept], log_shares[kept], weight[kept])


def fit(
    sets: dict[str, Any], nothing: Any, groups: tuple[str, ...], results: list[Any]
) -> dict[str, Any]:
    """The regression for one kind of evidence."""
    from ambigmnist._verdict_features import names_of

    parts = [rows_of(planted, nothing, groups) for planted in sets.values()]
    rows = Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    low, high = np.quantile(rows.x, [EXTREME, 1 - EXTREME], axis=0)
    x = rows.x.clip(low, high)
    middle = np.average(x, axis=0, weights=rows.weight)
    spread = np.sqrt(np.average((x - middle) ** 2, axis=0, weights=rows.weight))
    z = (x - middle) / spread
    weights, bias, loss = fit_softmax(z, rows)
    counts = rows.possible[rows.possible.sum(axis=1) == 1].sum(axis=0).tolist()
    print(f"{','.join(groups):32s} {len(z)} rows, {counts}; loss {loss:.1f}", flush=True)
    results.append({"groups": groups, "rows": len(z), "verdicts": counts, "loss": loss})
    return {
        "features": list(names_of(groups)),
        "low": rounded(low),
        "high": rounded(high),
        "middle": rounded(middle),
        "spread": rounded(spread),
        "weights": rounded(weights),
        "bias": rounded(bias),
    }


def fit_softmax(z: np.ndarray, rows: Rows) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (f, 5), bias (5,) and loss of the multinomial regression on z (n, f)."""
    from scipy.optimize import minimize

    f, k = z.shape[1], rows.possible.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat[: f * k].reshape(f, k)
        scores = z @ w + flat[f * k :] + rows.log_shares
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        inside = np.where(rows.possible, p, 0) + 1e-300
        likelihood = inside.sum(axis=1, keepdims=True)
        value = SHRINKAGE * (w**2).sum() / 2 - rows.weight @ np.log(likelihood[:, 0])
        slope = (p - inside / likelihood) * rows.weight[:, np.newaxis]
        return value, np.concatenate([(z.T @ slope + SHRINKAGE * w).ravel(), slope.sum(axis=0)])

    found = minimize(
        loss, np.zeros(f * k + k), jac=True, method="L-BFGS-B",
        options={"maxiter": 3000, "maxfun": 5000},
    )  # fmt: skip
    return found.x[: f * k].reshape(f, k), found.x[f * k :], float(found.fun)


def rounded(values: Any) -> Any:
    """To six digits, as they are written."""
    array = np.asarray(values)
    return np.array([float(f"{v:.6g}") for v in array.ravel()]).reshape(array.shape).tolist()


if __name__ == "__main__":
    main()

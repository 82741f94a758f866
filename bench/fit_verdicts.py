"""Fits the model of `ambigmnist.verdicts` on half A of planted MNIST, and tells how good it is.

    python bench/fit_verdicts.py [--write]

`--write` puts the coefficients into ambigmnist/data/verdicts.json. Audits are those of
`_planted.py`. scikit-learn fits the regression.

Truth. Flips, blends and occlusion are planted. An image that nothing was done to counts where the
three networks of another audit, of unplanted data, all give its label at least 0.99: as model_weak
where the networks in question read something else, as clean otherwise. Others are left out: they
may really be ambiguous.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import _common
import _planted
import numpy as np

FITTED = Path(__file__).parents[1] / "ambigmnist" / "data" / "verdicts.json"
FLIPPED = ("uniform", "pairs", "instance")
SETS = ("mixed", "mixed-instance", "one-epoch", "tenth", "tenth, one epoch")
AGREED = 0.99
UNKNOWN = -1
UNUSUAL = ("distance", "novelty")  # speak for "unreadable" and for nothing else
SHRINKAGE_WRONG, SHRINKAGE_RIGHT = 10.0, 1.0


def main() -> None:
    options = _common.arguments(
        __doc__.splitlines()[0],
        lambda parser: parser.add_argument("--write", action="store_true"),
    )
    machine = _common.setup(options.threads)
    from ambigmnist._verdict_features import GROUPS

    sure = sure_labels(_planted.load("nothing").ev)
    sets = {name: _planted.load(name) for name in (*FLIPPED, *SETS)}
    optional = [group for group in GROUPS if group != "probs"]
    models, results = {}, []
    for size in range(len(optional) + 1):
        for some in itertools.combinations(optional, size):
            groups = ("probs", *some)
            models[",".join(groups)] = fit(sets, sure, groups, results)
    if options.write:
        text = json.dumps({"models": models}, indent=1)
        FITTED.write_text(text + "\n")
        print(f"written: {FITTED}")
    _common.write(options, "fit_verdicts", machine, results)


def sure_labels(ev: Any) -> np.ndarray:
    """Whether all networks give the label, (n,)."""
    return (ev.members[:, np.arange(ev.n), ev.given_index] >= AGREED).all(axis=0)


def true_verdicts(planted: Any, sure: np.ndarray) -> np.ndarray:
    """The column of `VERDICTS` of each image, or UNKNOWN."""
    from ambigmnist.verdict import VERDICTS

    step, ev = planted.step, planted.ev
    truth = np.full(ev.n, UNKNOWN)
    kind = planted.truth.kind[::step]
    known = (kind == "none") & sure[::step]
    truth[known] = VERDICTS.index("clean")
    truth[known & (ev.predicted_index != ev.given_index)] = VERDICTS.index("model_weak")
    for name, verdict in (
        ("flip", "mislabelled"), ("blend", "ambiguous"), ("occlusion", "unreadable"),
    ):  # fmt: skip
        truth[kind == name] = VERDICTS.index(verdict)
    return truth


def fit(
    sets: dict[str, Any], sure: np.ndarray, groups: tuple[str, ...], results: list[Any]
) -> dict[str, Any]:
    """Both regressions for one kind of evidence."""
    from sklearn.linear_model import LogisticRegression

    from ambigmnist._verdict_features import features, names_of
    from ambigmnist.verdict import OUTLYING, RIGHT

    rows, flipped, truth = [], [], []
    for name, planted in sets.items():
        ev = planted.ev if "members" in groups else _planted.of_one_member(planted.ev)
        a = _planted.half_a(len(sure))[:: planted.step]
        rows.append(features(ev, groups)[a])
        flipped.append(planted.truth.mask("flip")[:: planted.step][a])
        known = true_verdicts(planted, sure)[a]
        truth.append(known if name in SETS else np.full(len(known), UNKNOWN))
    x, wrong, verdict = map(np.concatenate, (rows, flipped, truth))
    middle, spread = x.mean(axis=0), x.std(axis=0)
    z = ((x - middle) / spread).clip(-OUTLYING, OUTLYING)

    # Linear: products find 2 % more on MNIST, and half as much on other digits.
    first = LogisticRegression(C=1 / SHRINKAGE_WRONG, solver="newton-cholesky").fit(z, wrong)
    # As if half of all labels were wrong: verdicts() has shares of its own.
    bias = first.intercept_[0] - np.log(wrong.mean() / (1 - wrong.mean()))

    chosen = np.isin(verdict, RIGHT)
    names = names_of(groups)
    mask = np.ones((len(names), len(RIGHT)))
    for i, name in enumerate(names):
        if name in UNUSUAL:
            mask[i, :-1] = 0
    right_weights, right_bias = fit_softmax(
        z[chosen], np.searchsorted(RIGHT, verdict[chosen]), mask
    )
    counts = np.bincount(verdict[chosen], minlength=5)
    print(f"{','.join(groups):32s} {int(wrong.sum())} wrong labels; {counts.tolist()}", flush=True)
    results.append({"groups": groups, "wrong": int(wrong.sum()), "verdicts": counts.tolist()})
    return {
        "features": list(names),
        "middle": rounded(middle),
        "spread": rounded(spread),
        "wrong_weights": rounded(first.coef_[0]),
        "wrong_bias": rounded(bias),
        "right_weights": rounded(right_weights),
        "right_bias": rounded(right_bias),
    }


def fit_softmax(z: np.ndarray, y: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial regression, all classes equally heavy, with some weights held at 0."""
    from scipy.optimize import minimize

    f, k = mask.shape
    weight = (len(y) / k / np.bincount(y, minlength=k))[y]
    hit = np.eye(k)[y]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat[: f * k].reshape(f, k) * mask
        scores = z @ w + flat[f * k :]
        scores -= scores.max(axis=1, keepdims=True)
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        value = -(weight * (log_p * hit).sum(axis=1)).sum() + SHRINKAGE_RIGHT * (w**2).sum() / 2
        slope = (np.exp(log_p) - hit) * weight[:, np.newaxis]
        grad_w = (z.T @ slope + SHRINKAGE_RIGHT * w) * mask
        return value, np.concatenate([grad_w.ravel(), slope.sum(axis=0)])

    found = minimize(loss, np.zeros(f * k + k), jac=True, method="L-BFGS-B",
                     options={"maxiter": 2000})  # fmt: skip
    return found.x[: f * k].reshape(f, k) * mask, found.x[f * k :]


def rounded(values: Any) -> Any:
    """To six digits, as they are written."""
    array = np.asarray(values)
    return np.array([float(f"{v:.6g}") for v in array.ravel()]).reshape(array.shape).tolist()


if __name__ == "__main__":
    main()

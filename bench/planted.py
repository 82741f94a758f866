"""What finds planted truth on half B of all 70,000 digits: definitions, cleanlab, verdicts.

    python bench/planted.py [--resamples 1000]

Audits are those of `_planted.py`, verdicts as `fit_verdicts.py` left them (fitted on half A of all
sets but the blends). Three parts: wrong labels, two-way blends, verdicts. The score that is best on
half A is marked. Intervals are of a bootstrap over the images of half B, differences are resampled
in pairs.
"""

from typing import Any

import _common
import _planted
import numpy as np
from fit_verdicts import sure_labels

FLIPS = ("uniform", "pairs", "instance")
MIXED = ("mixed", "mixed-instance", "sharp")
CLEANLAB = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
SHOWN = 6


def main() -> None:
    options = _common.arguments(
        __doc__.splitlines()[0],
        lambda p: p.add_argument("--resamples", type=int, default=1000),
    )
    machine = _common.setup(options.threads)
    results = [flips(name, m, options.resamples) for name in FLIPS for m in (1, 3)]
    results.append(blends(options.resamples))
    results += [verdicts(name, m) for name in MIXED for m in (1, 3)]
    _common.write(options, "planted", machine, results)


def evidence(name: str, members: int) -> tuple[Any, Any]:
    planted = _planted.load(name)
    ev = planted.ev if members > 1 else _planted.of_one_member(planted.ev)
    return ev, planted.truth


def scores_of(ev: Any, *, labels: bool) -> dict[str, np.ndarray]:
    """Every definition that the evidence has what it needs for; label-free ones, or the others."""
    import ambigmnist as am

    found = {}
    for record in am.definitions():
        if ("labels" in record.needs or "dynamics" in record.needs) == labels:
            try:
                found[record.name] = ev.score(record.name)
            except am.ArgumentError:
                continue
    return found


def flips(name: str, members: int, resamples: int) -> dict[str, Any]:
    """Average precision of every score that looks at labels."""
    from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores

    import ambigmnist as am

    ev, truth = evidence(name, members)
    b = ~_planted.half_a(ev.n)
    scores = scores_of(ev, labels=True)
    scores["verdict"] = am.verdicts(ev).p("mislabelled")
    probs = ev.probs.astype(np.float64)
    for method in CLEANLAB:
        for adjust in (False, True)[: 1 if method == CLEANLAB[2] else 2]:
            scores[f"cleanlab {method}{' adjusted' if adjust else ''}"] = -get_label_quality_scores(
                ev.labels, probs, method=method, adjust_pred_probs=adjust
            )
        if members > 1:
            scores[f"cleanlab {method} ensemble"] = -get_label_quality_ensemble_scores(
                ev.labels, list(ev.members.astype(np.float64)), method=method, verbose=False
            )
    found = am.evaluate(
        {key: value[b] for key, value in scores.items()}, truth.mask("flip")[b], resamples=resamples
    )
    theirs = max(
        (key for key in found if key.startswith("cleanlab")),
        key=lambda key: found[key].average_precision.value,
    )
    print(f"\nflips {name!r}, members {members}: {found[theirs].planted} among {found[theirs].n}")
    order = sorted(found, key=lambda key: -found[key].average_precision.value)
    chosen = best_on_half_a(scores, truth.mask("flip"), "average_precision")
    rows = {}
    for key in dict.fromkeys([*order[:SHOWN], "verdict", theirs, chosen]):
        ap, minus = found[key].average_precision, found[key].minus(found[theirs]).average_precision
        rows[key] = {"ap": list(ap), "less the best of cleanlab": list(minus)}
        print(f"{'*' if key == chosen else ' ':>3} {key:42s} AP {text(ap)}  less cleanlab's best "
              f"{text(minus)}", flush=True)  # fmt: skip
    return {"case": "flips", "set": name, "members": members, "chosen": chosen, "rows": rows}


def best_on_half_a(scores: dict[str, np.ndarray], truth: np.ndarray, measure: str) -> str:
    import ambigmnist as am

    a = _planted.half_a(len(truth))
    found = am.evaluate({key: value[a] for key, value in scores.items()}, truth[a], resamples=0)
    return max(found, key=lambda key: getattr(found[key], measure).value)


def text(estimate: Any) -> str:
    return f"{estimate.value:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]"


def blends(resamples: int) -> dict[str, Any]:
    """AUROC, AP and F1 of every score without labels, beside one network's least confident."""
    import ambigmnist as am

    ev, truth = evidence("blends", 3)
    b = ~_planted.half_a(ev.n)
    scores = scores_of(ev, labels=False)
    scores["least_confident of one network"] = 1 - ev.members[0].max(axis=1).astype(np.float64)
    scores["verdict"] = am.verdicts(ev).p("ambiguous")
    found = am.evaluate(
        {key: value[b] for key, value in scores.items()}, truth.mask("blend")[b],
        resamples=resamples,
    )  # fmt: skip
    print(f"\nblends: {found['verdict'].planted} among {found['verdict'].n}")
    chosen = best_on_half_a(scores, truth.mask("blend"), "auroc")
    rows = {}
    for key in sorted(found, key=lambda key: -found[key].auroc.value):
        one = found[key]
        rows[key] = {
            "auroc": list(one.auroc), "ap": list(one.average_precision), "f1": list(one.f1),
        }  # fmt: skip
        print(f"{'*' if key == chosen else ' ':>3} {key:30s} AUROC {text(one.auroc)}  AP "
              f"{text(one.average_precision)}  F1 {one.f1.value:.3f}", flush=True)  # fmt: skip
    return {"case": "blends", "chosen": chosen, "rows": rows}


def verdicts(name: str, members: int) -> dict[str, Any]:
    """Macro-F1, Brier score and ECE of a balanced set; precision at k of the natural mix."""
    from sklearn.metrics import f1_score

    import ambigmnist as am
    from ambigmnist.verdict import VERDICTS, _likeliest_shares, _times

    ev, truth = evidence(name, members)
    full, _ = evidence(name, 3)
    b = ~_planted.half_a(ev.n)
    target = {"flip": "mislabelled", "blend": "ambiguous", "occlusion": "unreadable"}
    # Balanced: all planted ones of half B, and as many that all networks are sure of.
    random = np.random.Generator(np.random.Philox(_planted.HALVES_SEED + 1))
    clean = np.flatnonzero(truth.mask("none") & sure_labels(full) & b)
    size = int((truth.mask() & b).sum()) // len(target)
    clean = clean[np.argsort(random.random(len(clean)))[:size]]
    rows = np.sort(np.concatenate([clean, np.flatnonzero(truth.mask() & b)]))
    true = np.array([VERDICTS.index(target.get(kind, "clean")) for kind in truth.kind[rows]])
    whole = am.verdicts(ev)
    equal = am.verdicts(ev, shares=np.ones(5)).probs[rows]
    out: dict[str, Any] = {}
    for mix, probs in (
        ("its own shares, known", _times(equal, shares_of(true))),
        ("its own shares, estimated", _times(equal, _likeliest_shares(equal))),
        ("the shares of all 70,000", whole.probs[rows]),
        ("cut out and judged by itself", am.verdicts(ev[rows]).probs),
    ):
        hit = np.eye(len(VERDICTS))[true]
        f1 = f1_score(true, probs.argmax(axis=1), average="macro", labels=np.unique(true))
        brier = float(((probs - hit) ** 2).sum(axis=1).mean())
        ece = am.expected_calibration_error(am.Evidence(probs, true, classes=range(5)))
        out[mix] = {"macro_f1": float(f1), "brier": brier, "ece": ece.value}
        print(f"\nverdicts {name!r}, members {members}, balanced, {mix}: macro-F1 {f1:.4f}  "
              f"Brier {brier:.4f}  ECE {ece.value:.4f}", end="")  # fmt: skip
    print()
    for kind, verdict in target.items():
        y, p = truth.mask(kind)[b], whole.p(verdict)[b]
        one = am.evaluate(p, y, resamples=200)
        brier = float(((p - y) ** 2).mean())
        ece = am.expected_calibration_error(am.Evidence(np.stack([1 - p, p], axis=1), y))
        out[kind] = {
            "precision at k": list(one.precision), "ap": list(one.average_precision),
            "brier": brier, "ece": ece.value,
        }  # fmt: skip
        print(
            f"  natural mix: {verdict:12s} precision at {int(y.sum())}: {text(one.precision)}  "
            f"AP {text(one.average_precision)}  Brier {brier:.5f}  ECE {ece.value:.5f}"
        )
    print(f"  verdicts of all: {whole.counts()}", flush=True)
    return {"case": "verdicts", "set": name, "members": members, **out}


def shares_of(true: np.ndarray) -> np.ndarray:
    counts = np.bincount(true, minlength=5) / len(true)
    return np.maximum(counts, 1e-6)


if __name__ == "__main__":
    main()

"""How probable it is that a given label is wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ambigmnist.calibration import calibrate
from ambigmnist.evidence import Evidence
from ambigmnist.labels import confident_joint

__all__ = ["wrong_label_probabilities"]

F64 = NDArray[np.float64]


def wrong_label_probabilities(ev: Evidence) -> F64:
    """For every image the probability that its label is wrong, (n,); with labels.

    Calibrated probabilities q tell which label an image would be given, wrong labels included:
    with one label in ten wrong, a perfect network has q = 0.9 on the clearest image, so that the
    sum of 1 - q_given is several times the number of wrong labels. With P(label i | class j) as
    the confident joint estimates it, q_i = sum_j P(i | j) t_j is solved for the true class, t, and
    Bayes' rule gives P(true class is not g | image, label g). At last all odds are multiplied by
    the one factor with which they sum to the joint's number of wrong labels.
    """
    if ev.n == 0:
        return np.empty(0)
    joint = confident_joint(ev)
    noise = joint.noise_matrix
    unseen = np.isnan(noise).any(axis=0)  # nothing is known about how such a class is labelled
    noise[:, unseen] = np.eye(ev.k)[:, unseen]
    q = calibrate(ev, resamples=0).evidence.probs.astype(np.float64)
    true = np.linalg.lstsq(noise, q.T)[0].T.clip(0, None)
    joined = true * noise[ev.given_index]
    right = joined[np.arange(ev.n), ev.given_index].copy()
    joined[np.arange(ev.n), ev.given_index] = 0
    wrong = joined.sum(axis=1)
    total = float(joint.calibrated.sum() - joint.calibrated.trace())
    return _scaled(wrong, right, total)


def _scaled(wrong: F64, right: F64, total: float) -> F64:
    """Probabilities of odds c wrong / right, with the c > 0 that makes them sum to `total`."""
    both = wrong + right
    wrong = np.divide(wrong, both, out=np.zeros_like(both), where=both > 0)
    right = 1 - wrong
    low, high = -50.0, 50.0  # of log c; the sum rises with it
    for _ in range(60):
        middle = (low + high) / 2
        if _multiplied(wrong, right, middle).sum() < total:
            low = middle
        else:
            high = middle
    return _multiplied(wrong, right, (low + high) / 2)


def _multiplied(wrong: F64, right: F64, log_c: float) -> F64:
    odds: F64 = np.exp(log_c) * wrong
    return np.asarray(odds / (odds + right), np.float64)

"""Two results that must not differ in a bit."""

from ambigmnist.evidence import AXES


def same_evidence(a, b):
    assert a.provenance == b.provenance
    for name in (*AXES, "classes"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert (x.dtype, x.shape) == (y.dtype, y.shape), name
            assert x.tobytes() == y.tobytes(), name

"""What to say about a name that is not known."""

from collections.abc import Iterable

__all__ = ["suggest"]


def suggest(name: object, known: Iterable[str]) -> str:
    """`: did you mean 'x'?`, or the known names: the end of an error message."""
    import difflib  # 4 ms that only an error needs

    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    listed = f"known are {', '.join(known)}"
    if not near:
        return f": {listed}"
    return f": did you mean {near[0]!r}?" + (f" ({listed})" if len(known) <= 12 else "")

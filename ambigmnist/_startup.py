"""Loading the core, which refuses to load when AMBIGMNIST_ISA names what is not here.

To whoever imports the package that is an exception. To whoever runs the command, which cannot
begin before the package is imported, it is a line.
"""

import sys
from pathlib import Path

from ambigmnist.errors import ArgumentError

__all__ = ["VERSION"]


def _is_command() -> bool:
    """Whether this process is ``ambigmnist`` or ``python -m ambigmnist``."""
    name = (sys.argv or [""])[0]
    return Path(name).stem == "ambigmnist" or (name == "-m" and "ambigmnist" in sys.orig_argv)


try:
    from ambigmnist import _ambigcore
except ArgumentError as error:
    if not _is_command():
        raise
    print(f"ambigmnist: error: {error}", file=sys.stderr)
    raise SystemExit(2) from None

VERSION = str(_ambigcore.build_info()["version"])

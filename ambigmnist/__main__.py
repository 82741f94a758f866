"""``python -m ambigmnist``: the command."""

import sys

from ambigmnist.cli import main

if __name__ == "__main__":
    sys.exit(main())

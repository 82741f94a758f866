"""Executes notebooks where they lie, and writes them back with their outputs.

Run: python tests/tools/run_notebook.py notebooks/*.ipynb

What differs from run to run without any meaning, such as times and versions, is left out.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main(paths: list[Path]) -> None:
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook,
            timeout=3600,
            kernel_name="python3",
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": str(path.parent)}},
        ).execute()
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])

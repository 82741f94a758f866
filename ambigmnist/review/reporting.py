"""The report: one HTML file in which a person looks at images, judges and corrects."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ambigmnist._colours import RAMP
from ambigmnist._files import PathLike, as_path, atomic_write
from ambigmnist._validate import as_int
from ambigmnist.definitions import Definition
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.evidence import Evidence, as_evidence
from ambigmnist.ranking import _as_rows
from ambigmnist.review.findings import Findings
from ambigmnist.review.merging import MergedReviews
from ambigmnist.review.overview import overview
from ambigmnist.review.page_data import page_data

if TYPE_CHECKING:
    from ambigmnist.model import CNN
    from ambigmnist.verdict import Verdicts

__all__ = ["Report", "page", "report"]

# One script, in this order: what a part uses at once stands before it.
_SCRIPTS = (
    *("dom", "data", "decisions", "filter", "grid", "maps", "detail", "judge", "file"),
    *("model", "keys", "start"),
)
_FRAME = 860  # pixels that a notebook gives to it


@dataclass(frozen=True)
class Report:
    """A report that was written; made by `report`. A notebook shows it inline.

    Attributes
    ----------
    path : pathlib.Path
    images : int
        How many images it shows.
    size : int
        Of the file, in bytes.
    """

    path: Path
    images: int
    size: int

    def __repr__(self) -> str:
        return f"Report: {self.images:,} images, {self.size / 1e6:.2f} MB, {self.path}"

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text("utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="{_FRAME}" title="Report"></iframe>'


def report(
    ev: Evidence,
    path: PathLike,
    *,
    top: int = 1000,
    details: bool = True,
    by: Sequence[str | Callable[[Evidence], ArrayLike]] | None = None,
    where: ArrayLike | Callable[[Evidence], ArrayLike] | MergedReviews | None = None,
    verdicts: Verdicts | None = None,
    model: CNN | None = None,
    name: str = "",
    notes: Sequence[str] = (),
) -> Report:
    """Writes one HTML file to look at images, judge and correct them: offline, without a server.

    It has both heatmaps, every square a filter; the images in any order, each in detail; what is
    known about the labels of every class and about the model; and a review mode that hides label
    and prediction until a person has judged. What is judged is exported as a review file, for
    `load_review`. Without JavaScript it is static pictures and tables. The same evidence gives
    the same bytes.

    Parameters
    ----------
    ev : Evidence
        With images and labels.
    path : str or os.PathLike
        Written complete, or not at all.
    top : int
        How many images it holds at most: those that the heatmaps count first, then the first of
        every order in turn.
    details : bool
        With the nearest neighbours of both readings, what speaks for them, and clouds of images;
        without, the file is about a third of the size.
    by : sequence of str or callable, optional
        The definitions to order by; the first is the order at the start. By default those of the
        article and what else the evidence has, and the probabilities of the verdicts.
    where : array_like, callable or MergedReviews, optional
        Only these images, as `rank` takes it; or the conflicts of a merge, whose opinions are
        shown once the reader has judged.
    verdicts : Verdicts, optional
        Those of `ev`, where they are at hand; otherwise they are computed.
    model : CNN, optional
        The network of the evidence: then the page has its training curves and, with `details`,
        what speaks for both readings (how much either loses where a patch is blanked).
    name : str
        Of the data.
    notes : sequence of str
        What a reader must know; stands on top.

    Returns
    -------
    Report

    Raises
    ------
    ArgumentError, DTypeError, ShapeError
        Evidence without images or labels, nothing to show, an unknown definition.
    FileError
        The file cannot be written; what was there before is still there.

    Examples
    --------
    >>> import ambigmnist as am, tempfile
    >>> rng = np.random.default_rng(0)
    >>> ev = am.Evidence(
    ...     rng.dirichlet([0.2] * 3, 60), rng.integers(0, 3, 60),
    ...     images=rng.integers(0, 256, (60, 8, 8), np.uint8),
    ... )
    >>> folder = tempfile.TemporaryDirectory()
    >>> am.report(ev, f"{folder.name}/report.html", top=20).images
    20
    >>> folder.cleanup()
    """
    target = as_path(path)
    as_evidence(ev)
    opinions = where if isinstance(where, MergedReviews) else None
    if ev.images is None:
        raise ArgumentError("ev: a report shows images, this evidence has none: pass images=")
    if ev.labels is None:
        raise ArgumentError(
            "ev: a report compares with labels, this evidence has none: pass labels="
        )
    if not isinstance(name, str):
        raise DTypeError(f"name: expected a str, got {type(name).__name__}")
    if isinstance(notes, str):
        raise DTypeError("notes: expected a list of texts, got one text: put it into a list")
    top = as_int(top, "top", least=1)
    candidates = np.arange(ev.n)
    if opinions is not None:
        candidates = opinions.conflicts
    elif where is not None:
        candidates = np.unique(_as_rows(where, ev))  # type: ignore[arg-type]
    if len(candidates) == 0:
        raise ArgumentError("where: expected at least one image to show, got none")
    if by is not None and (isinstance(by, str | Definition) or callable(by)):
        by = [by]
    found = Findings(ev, candidates, top, by, verdicts, name, model)
    html = page(found, details=bool(details), notes=list(map(str, notes)), opinions=opinions)
    data = html.encode()
    atomic_write(target, data)
    return Report(target, len(found.shown), len(data))


def page(
    found: Findings,
    *,
    details: bool = True,
    notes: Sequence[str] = (),
    opinions: MergedReviews | None = None,
    made: Sequence[tuple[str, str]] = (),
    files: Sequence[str] = (),
) -> str:
    """The HTML text. `made`: lines about how; `files`: names of files that lie beside it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("ambigmnist.review", "page"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    style = environment.get_template("page.css.j2").render(ramp=_ramp())
    boot, script = _source("boot.js"), "".join(_source(f"{name}.js") for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_digest(boot)} {_digest(script)}; "
        f"style-src {_digest(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("page.html.j2").render(
        policy=Markup(policy),
        boot=Markup(boot),
        script=Markup(script),
        style=Markup(style),
        data=Markup(_json(page_data(found, details, opinions))),
        notes=notes,
        files=files,
        **overview(found, details, made),
    )


def _ramp() -> list[tuple[str, str, str, str]]:
    """The colours of a heatmap's square, light and dark, and the ink on each."""
    light, dark = RAMP["light"].split(), RAMP["dark"].split()
    return [
        (f"#{a}", f"#{b}", "#000" if i < 10 else "#fff", "#fff" if i < 7 else "#000")
        for i, (a, b) in enumerate(zip(light, dark, strict=True))
    ]


@cache
def _source(name: str) -> str:
    return files("ambigmnist.review").joinpath("page", name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: dict[str, Any]) -> str:
    """JSON that ends no script element and no line of JavaScript."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "&<>\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text

"""Tables as text and as HTML, for what a session or a notebook prints."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

__all__ = ["Listing", "few", "html_table", "shortened", "text_table"]

_SHOWN = 12  # rows in what a session prints


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart; numbers are the caller's to pad."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def html_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    pictures: Sequence[str] | None = None,
) -> str:
    """Every cell is escaped; `pictures`, one per row, are HTML already and come first."""
    from html import escape  # 2 ms that only a notebook needs

    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    if pictures is not None:
        head = f"<th></th>{head}"
        lines = [f"<td>{one}</td>{line}" for one, line in zip(pictures, lines, strict=True)]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def few(n: int, room: int = _SHOWN) -> int:
    """How many of n rows are shown; where not all of them, a line says how many more there are."""
    return n if n <= room else room - 1


def shortened(names: Iterable[str]) -> str:
    """Names in one short line: the first few and the last, none longer than 20."""
    shown = [name if len(name) <= 20 else name[:19] + "…" for name in names]
    if len(shown) > 10:
        shown = [*shown[:4], "...", shown[-1]]
    return " ".join(shown)


class Listing(ABC):
    """What prints as a title, the first few rows of a table, and how many more there are."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _title(self) -> str: ...

    @abstractmethod
    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]: ...

    def _more(self) -> str:
        left = len(self) - few(len(self))
        return f"... {left} more" if left else ""

    def _pictures(self) -> Sequence[str] | None:
        """One per row of the table, as HTML, where there are pictures."""
        return None

    def _legend(self) -> str:
        """What a mark in the table means, where there is one."""
        return ""

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}: {self._title()}", text_table(*self._table())]
        lines += [f" {line}" for line in (self._more(), self._legend()) if line]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{line}</p>" for line in (self._more(), self._legend()) if line)
        return html_table(*self._table(), self._title(), self._pictures()) + lines

"""Tables as text and as HTML, for what a session or a notebook prints."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

__all__ = ["Listing", "few", "html_table", "text_table"]

_SHOWN = 12  # rows in what a session prints


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart; numbers are the caller's to pad."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Every cell is escaped."""
    from html import escape  # 2 ms that only a notebook needs

    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def few(n: int) -> int:
    """How many of n rows are shown; where not all of them, a line says how many more there are."""
    return n if n <= _SHOWN else _SHOWN - 1


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

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}: {self._title()}\n{text_table(*self._table())}\n {self._more()}".rstrip()

    def _repr_html_(self) -> str:
        more = f"<p>{self._more()}</p>" if self._more() else ""
        return html_table(*self._table(), self._title()) + more

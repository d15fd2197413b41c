"""The Markdown that netmorph's own summaries are written in, as HTML: headings, lists, tables, bold text and code."""

from __future__ import annotations

import re
from html import escape

__all__ = ["to_html"]

_SHORT = 24  # characters of a cell that are kept on one line


def to_html(text: str) -> str:
    """Return the HTML of a summary; what it does not know stays text.

    Headings go down by one, since the page has a title of its own.
    """
    blocks = [block for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]
    return "\n".join(_block(block.splitlines()) for block in blocks)


def _block(lines: list[str]) -> str:
    heading = re.match(r"(#{1,4})\s+(.*)", lines[0])
    if heading and len(lines) == 1:
        level = len(heading[1]) + 1
        return f"<h{level}>{_inline(heading[2])}</h{level}>"
    if all(line.startswith("|") for line in lines):
        return _table(lines)
    if all(re.match(r" *- ", line) for line in lines):
        return _list(lines)
    return f"<p>{_inline(' '.join(lines))}</p>"


def _list(lines: list[str]) -> str:
    """Return a list; lines that are indented further are a list within the entry above."""
    depth = _indent(lines[0])
    items: list[tuple[str, list[str]]] = []
    for line in lines:
        if _indent(line) > depth and items:
            items[-1][1].append(line)
        else:
            items.append((line.strip()[2:], []))
    entries = (f"<li>{_inline(text)}{_list(inner) if inner else ''}</li>" for text, inner in items)
    return f"<ul>{''.join(entries)}</ul>"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    body = [row for row in rows[1:] if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]

    def cells(tag: str, row: list[str]) -> str:
        short = (" class=short" if len(cell) <= _SHORT else "" for cell in row)
        return "".join(f"<{tag}{how}>{_inline(cell)}</{tag}>" for how, cell in zip(short, row, strict=True))

    listed = "".join(f"<tr>{cells('td', row)}</tr>" for row in body)
    table = f"<table><thead><tr>{cells('th', rows[0])}</tr></thead><tbody>{listed}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _inline(text: str) -> str:
    out = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", out)

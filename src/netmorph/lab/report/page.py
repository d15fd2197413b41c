"""The page that holds a report: no scripts, nothing to fetch; light and dark, on a phone and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from netmorph.graph.draw.svg import STYLE
from netmorph.lab.report.chart import COLOURS

__all__ = ["SERIES", "page", "section"]

_LIGHT: dict[str, str] = {
    "ground": "#fff",
    "ink": "#1b2330",
    "soft": "#5b6675",
    "rule": "#dde3ea",
    "tint": "#f4f6f9",
    "good": "#0b6b3a",
    "bad": "#b3261e",
    "link": "#0060a0",
    "c0": "#0067a8",
    "c1": "#1b2330",
    "c2": "#b84a00",
    "c3": "#00795a",
    "c4": "#a3487e",
    "c5": "#7a6a00",
}
SERIES = tuple(_LIGHT[f"c{number}"] for number in range(COLOURS))  # the colours of curves, by their order
_DARK: dict[str, str] = {
    "ground": "#12161c",
    "ink": "#e8ecf1",
    "soft": "#a3aebb",
    "rule": "#303a46",
    "tint": "#1a2028",
    "good": "#5fd39a",
    "bad": "#ff8a7e",
    "link": "#7cc4ff",
    "c0": "#5ab4f0",
    "c1": "#e8ecf1",
    "c2": "#ff9d5c",
    "c3": "#3fcfa2",
    "c4": "#e79ac6",
    "c5": "#d8c84a",
}


def _colours(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


_STYLE = (
    f":root{{color-scheme:light dark;{_colours(_LIGHT)}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_colours(_DARK)}}}}}"
    f"@media print{{:root{{color-scheme:light;{_colours(_LIGHT)}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",
Roboto,sans-serif}
main,header{max-width:60rem;margin:0 auto;padding:0 1.1rem}
header{padding-top:1.6rem}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem;padding-top:.9rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:1.3rem 0 .4rem}
p,li{max-width:46rem}
p,li,h1,h3,figcaption{overflow-wrap:anywhere}
.soft,figcaption{color:var(--soft)}
.good{color:var(--good)}.bad{color:var(--bad)}.good,.bad{font-weight:600}
code,pre{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.86em}
code{overflow-wrap:anywhere}
pre{background:var(--tint);border:1px solid var(--rule);border-radius:8px;padding:.8rem 1rem;overflow-x:auto}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.32rem .8rem .32rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:600;color:var(--soft);white-space:nowrap}
td:first-child{min-width:6.5rem}td.good,td.bad,.short{white-space:nowrap}
.facts{list-style:none;margin:1rem 0;padding:0;display:grid;gap:.5rem}
.facts li{background:var(--tint);border-left:4px solid var(--rule);border-radius:6px;padding:.5rem .8rem}
.facts li.good{border-color:var(--good);font-weight:400;color:inherit}
.facts li.bad{border-color:var(--bad);font-weight:400;color:inherit}
figure{margin:1.2rem 0}
figure svg.netmorph{max-width:none!important;display:block;margin-top:.5rem}
figure .nm-paper{fill:none}
details>summary{cursor:pointer;color:var(--link)}
.chart{width:100%;max-width:40rem;height:auto;display:block}
.chart text{font:14px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}
.grid{stroke:var(--rule)}.birth{stroke:var(--soft);stroke-dasharray:2 4}
.series{fill:none;stroke-width:2.4}.dashed{stroke-dasharray:7 4}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.4rem 0;padding:0;font-size:.92rem}
.legend svg{vertical-align:middle}
.picture{max-width:100%;background:#fff;border-radius:8px}
footer{max-width:60rem;margin:3rem auto 2rem;padding:0 1.1rem;color:var(--soft);font-size:.9rem}
@media(max-width:34rem){body{font-size:15px}th,td{padding-right:.6rem}.chart text{font-size:18px}}
@media print{body{font-size:10pt}h2{break-after:avoid}figure,table,.facts li{break-inside:avoid}
pre{white-space:pre-wrap}.scroll{overflow:visible}figure svg.netmorph{max-width:100%!important;height:auto}}
""" + "".join(f".series.c{n}{{stroke:var(--c{n})}}.dot.c{n}{{fill:var(--c{n})}}" for n in range(COLOURS))
)


def section(title: str, *parts: str) -> str:
    """Return a section; nothing if all its parts are empty.

    Args:
        title: its heading, plain text.
        parts: HTML.
    """
    body = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def page(title: str, head: str, sections: Sequence[str], foot: str) -> str:
    """Return the whole file.

    Args:
        title: plain text.
        head: HTML below the title.
        sections: HTML.
        foot: plain text.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}{STYLE}</style>",
            "</head>",
            "<body>",
            f"<header><h1>{escape(title)}</h1>\n{head}</header>",
            "<main>",
            *[each for each in sections if each],
            "</main>",
            f"<footer>{escape(foot)}</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )

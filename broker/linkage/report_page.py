"""The sheet of a report: its style, and the elements that it is put together from. Everything that comes in is escaped.

A page is one file without scripts, fonts or pictures from elsewhere, and well-formed XML at that. What must not go in here:
what is told (report.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import log10

STYLE = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5b6675; --line: #dde2e8; --sheet: #ffffff; --ground: #f4f6f8;
  --for: #1f7a5c; --against: #b4532a; --review: #c08a1e; --none: #98a2ae; --mark: #eef2f5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --soft: #9aa5b2; --line: #2f3843; --sheet: #171c22;
  --ground: #0f1317; --for: #4fb893; --against: #e0885e; --review: #dcae4c; --none: #6a7582; --mark: #212932; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto,
  "Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
main { max-width: 62rem; margin: 2rem auto; padding: 2.5rem 3rem 3rem; background: var(--sheet); border: 1px solid var(--line);
  border-radius: 6px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.8rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); font-weight: 650; }
h3 { font-size: 1rem; margin: 1.8rem 0 .3rem; font-weight: 650; }
h1 small, h2 small, h3 small { font-weight: 400; color: var(--soft); font-size: .82em; margin-left: .4em; white-space: nowrap; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.soft, caption, figcaption { color: var(--soft); font-size: .9rem; }
dl.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.6rem, 1fr)); gap: 1.2rem 1rem;
  margin: 1.6rem 0 0; }
dl.figures div { border-left: 3px solid var(--line); padding-left: .8rem; }
dl.figures div.link { border-color: var(--for); } dl.figures div.review { border-color: var(--review); }
dl.figures dt { color: var(--soft); font-size: .85rem; line-height: 1.35; }
dl.figures dd { margin: .1rem 0 0; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
dl.figures dd small { display: block; font-size: .8rem; line-height: 1.35; color: var(--soft); }
.wide { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.4; }
th, td { padding: .38rem .7rem .38rem 0; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--soft); font-size: .82rem; vertical-align: bottom; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 11rem; padding-right: 0; }
table.weights { table-layout: fixed; } .weights th:nth-child(2), .weights th:nth-child(3) { width: 9rem; }
.weights th:nth-child(4) { width: 4.5rem; } .weights th:nth-child(5) { width: 4rem; } .weights th:nth-child(6) { width: 11rem; }
p.soft { max-width: none; } .weights th, .weights td { padding-right: 1rem; }
table.sizes { max-width: 34rem; }
table.rules td:first-child { width: 2.5rem; }
table.settings td:first-child { width: 18rem; }
td.tag { white-space: nowrap; font-size: .84rem; }
td.for { color: var(--for); } td.against { color: var(--against); } td.none { color: var(--none); }
svg { display: block; max-width: 100%; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .link, svg .for { fill: var(--for); } svg .against { fill: var(--against); } svg .review { fill: var(--review); }
svg .none { fill: var(--none); } svg .line { stroke: var(--line); stroke-width: 1; }
svg .bound { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3; } svg .count { fill: var(--ink); }
figure { margin: 1rem 0 1.5rem; } figcaption { margin-top: .5rem; max-width: 46rem; }
ul.key { list-style: none; padding: 0; margin: .6rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .9rem; }
ul.key li::before { content: ""; display: inline-block; width: .7em; height: .7em; margin-right: .45em; border-radius: 2px;
  background: var(--none); } ul.key li.link::before { background: var(--for); }
  ul.key li.review::before { background: var(--review); }
dl.terms dt { font-weight: 600; margin-top: .8rem; } dl.terms dd { margin: 0; max-width: 46rem; }
.note { background: var(--mark); border-radius: 4px; padding: .7rem 1rem; max-width: none; margin-top: 1.2rem; }
@media (max-width: 40rem) { main { margin: 0; padding: 1.3rem 1.1rem 2rem; border: 0; border-radius: 0; }
  h1 { font-size: 1.4rem; }
  td.bar { min-width: 7rem; } .wide table { min-width: 30rem; } .wide table.weights { min-width: 44rem; }
  figure svg { min-width: 34rem; max-width: none; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #ccc; --sheet: #fff; --ground: #fff;
  --for: #1f7a5c;
  --against: #b4532a; --review: #a87614; --none: #888; --mark: #f2f2f2; } body { font-size: 10.5pt; } main { margin: 0;
  padding: 0;
  border: 0; max-width: none; } h2, h3 { break-after: avoid; } tr, figure, dl.figures div { break-inside: avoid; }
  .wide { overflow: visible; } ul.key li::before { print-color-adjust: exact; } }
"""
_BAR, _HALF = 160, 80
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 880, 250, 60, 44, 22

Cell = tuple[str, str]  # class ("" is none) and text


def sheet(title: str, parts: Iterable[str]) -> str:
    """Put a whole page together."""
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def heading(level: int, text: str, chinese: str = "") -> str:
    """Give a heading, with its term in Chinese."""
    small = f' <small lang="zh">{escape(chinese)}</small>' if chinese else ""
    return f"<h{level}>{escape(text)}{small}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """Give a paragraph."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def figures(shown: Iterable[tuple[str, str, str, str]]) -> str:
    """Give figures that stand out: class, what it is, how much, and a remark."""
    told = "".join(
        f"<div{_class(kind)}><dt>{escape(what)}</dt><dd>{escape(much)}<small>{escape(remark)}</small></dd></div>"
        for kind, what, much, remark in shown
    )
    return f'<dl class="figures">{told}</dl>'


def terms(told: Iterable[tuple[str, str]]) -> str:
    """Give terms and what they mean."""
    return f'<dl class="terms">{"".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in told)}</dl>'


def table(columns: Sequence[Cell], rows: Iterable[Sequence[str | Cell]], kind: str = "") -> str:
    """Give a table: columns by class and heading; a cell is text, or (class, text), or ("bar", an element that is drawn)."""
    head = "".join(f"<th{_class(side if side == 'n' else '')}>{escape(name)}</th>" for side, name in columns)
    body = "".join(
        f"<tr>{''.join(_cell(cell, side) for cell, (side, _) in zip(row, columns, strict=True))}</tr>" for row in rows
    )
    return f'<div class="wide"><table{_class(kind)}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str | Cell, kind: str) -> str:
    if kind == "bar":
        return f'<td class="bar">{cell}</td>'
    own, text = cell if isinstance(cell, tuple) else ("", cell)
    return f"<td{_class(f'{kind} {own}'.strip())}>{escape(text)}</td>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def bits_bar(bits: float, most: float) -> str:
    """Draw bits for (to the right) or against (to the left), of at most so many."""
    size = min(1.0, abs(bits) / most) * (_HALF - 2) if most > 0 else 0.0
    at, kind = (_HALF, "for") if bits >= 0 else (_HALF - size, "against")
    return (
        f'<svg viewBox="0 0 {_BAR} 12" width="{_BAR}" height="12" aria-hidden="true"><rect class="{kind}" x="{at:.1f}" y="2" '
        f'width="{size:.1f}" height="8"/><line class="line" x1="{_HALF}" y1="0" x2="{_HALF}" y2="12"/></svg>'
    )


def share_bar(share: float) -> str:
    """Draw a share, 0 to 1."""
    return (
        f'<svg viewBox="0 0 {_BAR} 12" width="{_BAR}" height="12" aria-hidden="true">'
        f'<rect class="none" x="0" y="2" width="{max(1.0, share * _BAR):.1f}" height="8"/></svg>'
    )


def histogram(bars: Sequence[tuple[str, int]], bounds: Iterable[float], title: str) -> str:
    """Draw counts over 0 to 1 on a logarithmic scale: bars of equal width by class and count, and bounds as lines across."""
    top = 10.0 ** max(1, _decades(max((count for _, count in bars), default=1)))
    wide, high = _WIDTH - _LEFT - 12, _HEIGHT - _BOTTOM - _TOP
    step = wide / len(bars)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img"><title>{escape(title)}</title>']
    for decade in range(round(log10(top)) + 1):
        y = _TOP + high * (1 - (decade + 1) / (log10(top) + 1))
        parts.append(f'<line class="line" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + wide}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**decade:,}</text>')
    for place, (kind, count) in enumerate(bars):
        size = high * (log10(count) + 1) / (log10(top) + 1) if count else 0.0
        x, y = _LEFT + place * step, _TOP + high - size
        parts.append(f'<rect class="{kind}" x="{x + 1:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{size:.1f}"/>')
        label = f"{count:,}" if count else ""
        parts.append(f'<text class="count" x="{x + step / 2:.1f}" y="{y - 4:.1f}" text-anchor="middle">{label}</text>')
    parts.append(f'<line class="line" x1="{_LEFT}" y1="{_TOP + high}" x2="{_LEFT + wide}" y2="{_TOP + high}"/>')
    for bound in bounds:
        x = _LEFT + wide * bound
        parts.append(f'<line class="bound" x1="{x:.1f}" y1="{_TOP - 14}" x2="{x:.1f}" y2="{_TOP + high}"/>')
    for tenth in range(0, 11, 2):
        x = _LEFT + wide * tenth / 10
        parts.append(f'<text x="{x:.1f}" y="{_TOP + high + 18}" text-anchor="middle">{tenth / 10:.1f}</text>')
    x = _LEFT + wide / 2
    parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">probability of one person</text></svg>')
    return "".join(parts)


def _decades(count: int) -> int:
    """How many powers of ten are at least this count."""
    return len(str(max(1, count - 1))) if count > 1 else 0


def key(entries: Iterable[tuple[str, str]]) -> str:
    """Explain colours: class and meaning."""
    return f'<ul class="key">{"".join(f"<li{_class(kind)}>{escape(text)}</li>" for kind, text in entries)}</ul>'


def figure(drawn: str, caption: str) -> str:
    """Give what is drawn, with a caption."""
    return f'<figure><div class="wide">{drawn}</div><figcaption>{escape(caption)}</figcaption></figure>'

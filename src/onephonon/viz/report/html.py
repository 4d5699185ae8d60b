"""Minimal HTML generation: text is escaped unless it is already markup."""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Sequence

#: Style for wide and narrow screens, light and dark mode, and print.
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #5b646e; --page: #ffffff;
  --line: #d8dde3; --band: #f4f6f8; --good: #00734f; --bad: #a84300; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --faint: #9aa4ae; --page: #15181c;
  --line: #363c43; --band: #1f2429; --good: #4fc79d; --bad: #f2a065; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 64rem; color: var(--ink);
  background: var(--page); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0 0.25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.5rem; padding-top: 0.75rem;
  border-top: 1px solid var(--line); }
p, ul, dl { margin: 0.5rem 0; max-width: 46rem; }
ul { padding-left: 1.25rem; }
li { margin: 0.15rem 0; }
.faint, figcaption, caption { color: var(--faint); font-size: 0.875rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.verdict { border-left: 4px solid var(--line); background: var(--band); padding: 0.5rem 1rem;
  margin: 0.75rem 0; max-width: 46rem; list-style: none; }
.verdict li { margin: 0.3rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 0.75rem;
  margin: 1rem 0; }
.tiles div { border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem 0.75rem; }
.tiles b { display: block; font-size: 1.4rem; font-weight: 600; line-height: 1.3; }
.tiles span { display: block; color: var(--faint); font-size: 0.8125rem; }
.wide { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.84rem; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; padding-bottom: 0.25rem; }
th, td { padding: 0.2rem 0.55rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; }
.text { text-align: left; }
.long { white-space: normal; min-width: 12rem; }
tr.highlighted td { background: var(--band); font-weight: 600; }
figure { margin: 0.75rem 0; }
figure .wide { margin: 0; }
img { display: block; width: 100%; min-width: 34rem; height: auto; background: #fff;
  border-radius: 4px; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.85rem; }
pre { background: var(--band); padding: 0.6rem 0.8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
details summary { cursor: pointer; color: var(--faint); }
nav { font-size: 0.875rem; margin: 0.75rem 0; }
nav a { margin-right: 0.9rem; display: inline-block; }
a { color: inherit; }
@media (max-width: 30rem) { body { padding: 1rem 0.75rem 3rem; } h1 { font-size: 1.35rem; } }
@media print { :root { color-scheme: light; --ink: #000; --faint: #444; --page: #fff;
  --line: #bbb; --band: #f4f4f4; } body { font-size: 10.5pt; max-width: none; padding: 0; }
  nav { display: none; } img { min-width: 0; } .wide { overflow: visible; }
  figure, tr, .tiles, .verdict { break-inside: avoid; }
  p { break-inside: avoid; } h2, h2 + p { break-after: avoid; }
  table { font-size: 8pt; } th, td { padding: 0.15rem 0.4rem; white-space: normal; } }
""".strip()


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """Text as HTML shows it."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text)))


def joined(*parts: object) -> Markup:
    """Concatenate parts, each escaped unless already markup."""
    return Markup("".join(escaped(part) for part in parts))


def element(name: str, *content: object, kind: str = "", ident: str = "") -> Markup:
    """An element with a class and an id."""
    marks = "".join(f' {k}="{html.escape(v)}"' for k, v in (("class", kind), ("id", ident)) if v)
    return Markup(f"<{name}{marks}>{joined(*content)}</{name}>")


def paragraph(*content: object, kind: str = "") -> Markup:
    """A paragraph."""
    return element("p", *content, kind=kind)


def listed(items: Sequence[object], kind: str = "") -> Markup:
    """A bulleted list."""
    return element("ul", *(element("li", item) for item in items), kind=kind)


def details(title: str, *content: object) -> Markup:
    """Content that is hidden until its title is clicked."""
    return element("details", element("summary", title), *content)


def table(
    head: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    text: Sequence[int] = (0,),
    long: Sequence[int] = (),
    highlighted: int | None = None,
    caption: str = "",
) -> Markup:
    """A table that scrolls by itself where it is too wide.

    Parameters
    ----------
    head, rows : sequences of cells
    text, long : sequence of int
        Columns of text, and columns of long text that is wrapped.
    highlighted : int, optional
        Index of the row to highlight.
    caption : str
    """

    def cells(name: str, row: Sequence[object]) -> Markup:
        kinds = [f"{'text' * (i in text)} {'long' * (i in long)}".strip() for i in range(len(row))]
        return joined(*(element(name, c, kind=k) for c, k in zip(row, kinds, strict=True)))

    body = [
        element("tr", cells("td", row), kind="highlighted" if i == highlighted else "")
        for i, row in enumerate(rows)
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption) if caption else "",
            element("thead", element("tr", cells("th", head))),
            element("tbody", *body),
        ),
        kind="wide",
    )


def picture(svg: bytes, alt_text: str, caption: str = "") -> Markup:
    """An embedded picture with alternative text."""
    code = base64.b64encode(svg).decode("ascii")
    image = f'<img alt="{html.escape(alt_text)}" src="data:image/svg+xml;base64,{code}">'
    below = element("figcaption", caption) if caption else ""
    return element("figure", element("div", Markup(image), kind="wide"), below)


def page(title: str, body: Sequence[object]) -> str:
    """A complete, self-contained page, which runs no script and loads nothing."""
    style = f"\n{STYLE}\n"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        + "\n".join(escaped(part) for part in body)
        + "\n</body>\n</html>\n"
    )


def capitalized(text: str) -> str:
    """Text with a capital first letter."""
    return text[:1].upper() + text[1:]


def number(value: float, digits: int = 3) -> str:
    """Format a number with significant digits and a typographic minus; a dash for none."""
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    # Rounding may carry to the next power of ten.
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))) + 1e-12)
    if not -4 <= size < 6:
        front, power = f"{value:.{digits - 1}e}".split("e")
        signs = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
        return f"{front} × 10{str(int(power)).translate(signs)}".replace("-", "−")
    return f"{value:,.{max(0, digits - 1 - size)}f}".replace(",", "\u202f").replace("-", "−")


def fixed(value: float, decimals: int = 3, sign: bool = False) -> str:
    """A number with a fixed number of decimals, such as a correlation."""
    if not math.isfinite(value):
        return number(value)
    return f"{value:{'+' if sign else ''}.{decimals}f}".replace("-", "−")


def percent(share: float) -> str:
    """A share in percent."""
    if not math.isfinite(share):
        return "–"
    return "0 %" if abs(share) < 1e-5 else f"{number(100 * share, 2)} %"


def interval(low: float, high: float) -> str:
    """Format an interval."""
    if not (math.isfinite(low) or math.isfinite(high)):
        return "–"
    return f"{number(low)} to {number(high)}"

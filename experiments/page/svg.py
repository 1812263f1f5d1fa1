"""matplotlib's SVG made fit to stand in a page: ids of its own, colours that follow the theme, nothing else's style."""

import re
from xml.etree import ElementTree

from experiments.page.colours import on_dark
from experiments.page.markup import Markup, tag

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
KEPT = "longreach-kept"  # gid of what shows numbers by colour: the theme leaves it alone
SERIES = re.compile(r"longreach-series-(\d+)$")
COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")


def gid(series: int) -> str:
    """For `Artist.set_gid`: it becomes `data-series`."""
    return f"longreach-series-{series}"


def clean(text: str, prefix: str, alt: str = "") -> Markup:
    """The drawing as an element of HTML, named `alt` to those who do not see it, or hidden from them.

    Colours become `var(--ink-rrggbb)`, which `palette` defines.
    """
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    referred = set(re.findall(r"[\"(]#([\w-]+)[\")]", text))
    _walk(root, prefix, referred, keep=False)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("style", "fill: var(--ink-000000)")  # matplotlib leaves black fills out
    if alt:
        root.attrib |= {"role": "img", "aria-label": alt, "tabindex": "0"}
    else:
        root.attrib |= {"aria-hidden": "true"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _walk(element: ElementTree.Element, prefix: str, referred: set[str], *, keep: bool) -> None:
    name = element.attrib.pop("id", "")
    keep |= name == KEPT
    if found := SERIES.match(name):
        element.set("data-series", found[1])
    elif name in referred:
        element.set("id", f"{prefix}-{name}")
    if link := element.attrib.pop(f"{XLINK}href", ""):
        element.set("href", f"#{prefix}-{link[1:]}" if link.startswith("#") else link)
    for key, value in element.attrib.items():
        moved = re.sub(r"url\(#([\w-]+)\)", rf"url(#{prefix}-\1)", value)
        if key == "style" and not keep:
            moved = COLOUR.sub(lambda colour: f"var(--ink-{colour[0][1:].lower()})", moved)
        element.set(key, moved)
    element.tag = element.tag.removeprefix(SVG)
    for child in element:
        _walk(child, prefix, referred, keep=keep)


def palette(page: str) -> Markup:
    """A style sheet that defines every `--ink-rrggbb` that the page uses, light and dark."""
    used = sorted(set(re.findall(r"--ink-([0-9a-f]{6})", page)))
    rules = "".join(f"--ink-{colour}:light-dark(#{colour},{on_dark('#' + colour)});" for colour in used)
    return tag("style", Markup(f":root{{{rules}}}"))

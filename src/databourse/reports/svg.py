"""From a figure to SVG markup: for the page (themed, scalable) or as an image of its own.

Figures are drawn in the colours of `PALETTE`. In the page each becomes a CSS variable, so that one
drawing serves light, dark and print; an image of its own keeps them on a white ground.
"""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1b1f24"
MUTED = "#5b6470"
LINE = "#d9dde2"
BOUGHT = "#0063a5"
LEFT = "#868e96"
ACCENT = "#c4500b"

PALETTE = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    BOUGHT: "bought",
    LEFT: "left",
    ACCENT: "accent",
}

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_HASH_SALT = "databourse"
_LONG_DECIMALS = re.compile(r"-?\d+\.\d{2,}")
_COLOUR = re.compile("|".join(PALETTE))
_FONT_FAMILY = re.compile(r"font-family:[^;]*;? ?")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_GEOMETRY = frozenset({"d", "x", "y", "points", "transform", "width", "height"})


def page_svg(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an `<svg>` element for the page.

    Args:
        name: prefix of every id in the drawing; unique in the page.
        label: what a screen reader says.
    """
    root = _drawn(figure)
    _tidy(root, name)
    for element in root.iter():
        style = element.get("style")
        if style is not None:
            element.set("style", _COLOUR.sub(_variable, style))
    root.set("role", "img")
    root.set("aria-label", label)
    return ET.tostring(root, encoding="unicode")


def image_uri(figure: Figure, label: str) -> str:
    """Return a figure as a `data:` URI that any `<img>` or Markdown image can show."""
    data = image_svg(figure, label).encode("utf-8")
    return f"data:image/svg+xml;base64,{base64.b64encode(data).decode('ascii')}"


def svg_uri(markup: str) -> str:
    """Return what `page_svg` gave as a `data:` URI, in the palette's own colours on white."""
    root = ET.fromstring(markup)  # noqa: S314 - `page_svg` wrote it
    width, height = root.get("viewBox", "0 0 1 1").split()[2:]
    root.set("xmlns", _NAMESPACE.strip("{}"))
    root.set("width", width)
    root.set("height", height)
    root.set("style", "background: #ffffff; font-family: sans-serif")
    data = ET.tostring(root, encoding="unicode").encode("utf-8")
    return f"data:image/svg+xml;base64,{base64.b64encode(data).decode('ascii')}"


def image_svg(figure: Figure, label: str) -> str:
    """Return a figure as the text of an SVG file, in fixed colours on white."""
    root = _drawn(figure)
    width, height = root.get("viewBox", "0 0 1 1").split()[2:]
    _tidy(root, "image")
    root.set("xmlns", _NAMESPACE.strip("{}"))
    root.set("width", width)
    root.set("height", height)
    root.set("style", "background: #ffffff; font-family: sans-serif")
    root.set("aria-label", label)
    return ET.tostring(root, encoding="unicode")


def _drawn(figure: Figure) -> ET.Element:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": _HASH_SALT, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return ET.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib wrote it just now


def _tidy(root: ET.Element, name: str) -> None:
    """Drop what a page must not repeat: namespaces, metadata, global styles, foreign ids."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(_NAMESPACE)
        if _XLINK in element.attrib:
            element.set("href", element.attrib.pop(_XLINK))
        _merge_dots(element)
    _remove(root, {"metadata", "style"})
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("stroke-linejoin", "round")
    _rename_ids(root, name)
    _shorten(root)


def _remove(root: ET.Element, tags: set[str]) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in tags]:
            parent.remove(child)


def _merge_dots(group: ET.Element) -> None:
    """Turn the many `<use>` of a group named `dots-...` or `squares-...` into one path."""
    shape = group.get("id", "").partition("-")[0]
    if shape not in _SHAPES:
        return
    uses = list(group.iter(f"{_NAMESPACE}use"))
    outlines = "".join(
        _SHAPES[shape].format(x=float(use.get("x", 0)), y=float(use.get("y", 0))) for use in uses
    )
    style = uses[0].get("style", "") if uses else ""
    clip = next((part.get("clip-path") for part in group if part.get("clip-path")), None)
    for child in list(group):
        group.remove(child)
    path = ET.SubElement(group, "path", {"d": outlines, "style": style})
    if clip:
        path.set("clip-path", clip)


_SHAPES = {
    "dots": "M{x:.1f} {y:.1f}m-1.6 0a1.6 1.6 0 1 0 3.2 0a1.6 1.6 0 1 0-3.2 0",
    "triangles": "M{x:.1f} {y:.1f}m0-2.4l2.2 4h-4.4z",
}


def _rename_ids(root: ET.Element, name: str) -> None:
    used = set(_references(root))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        if "href" in element.attrib:
            element.set("href", f"#{name}-{element.attrib['href'][1:]}")
        for key, value in element.attrib.items():
            if "url(#" in value:
                element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        if "href" in element.attrib:
            yield element.attrib["href"][1:]
        for value in element.attrib.values():
            yield from _REFERENCE.findall(value)


def _shorten(root: ET.Element) -> None:
    for element in root.iter():
        for key in _GEOMETRY & element.attrib.keys():
            value = _LONG_DECIMALS.sub(_two_decimals, element.attrib[key])
            element.set(key, " ".join(value.split()))
        if "style" in element.attrib:
            element.set("style", _FONT_FAMILY.sub("", element.attrib["style"]))
        if element.tag != "text":
            element.text = None
        element.tail = None


def _two_decimals(match: re.Match[str]) -> str:
    return f"{float(match.group()):.2f}"


def _variable(match: re.Match[str]) -> str:
    return f"var(--{PALETTE[match.group()]}, {match.group()})"

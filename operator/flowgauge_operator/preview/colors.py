"""Grafana's colours by name, for its light and its dark theme. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHADES = ("super-light-", "light-", "", "semi-dark-", "dark-")
_HUES = {
    "dark": {
        "red": "#FFA6B0 #FF7383 #F2495C #E02F44 #C4162A",
        "orange": "#FFCB7D #FFB357 #FF9830 #FF780A #FA6400",
        "yellow": "#FFF899 #FFEE52 #FADE2A #F2CC0C #E0B400",
        "green": "#C8F2C2 #96D98D #73BF69 #56A64B #37872D",
        "blue": "#C0D8FF #8AB8FF #5794F2 #3274D9 #1F60C4",
        "purple": "#DEB6F2 #CA95E5 #B877D9 #A352CC #8F3BB8",
    },
    "light": {
        "red": "#FF7383 #F2495C #E02F44 #C4162A #AD0317",
        "orange": "#FFB357 #FF9830 #FF780A #FA6400 #E55400",
        "yellow": "#FFEE52 #FADE2A #F2CC0C #E0B400 #CC9D00",
        "green": "#96D98D #73BF69 #56A64B #37872D #19730E",
        "blue": "#8AB8FF #5794F2 #3274D9 #1F60C4 #1250B0",
        "purple": "#CA95E5 #B877D9 #A352CC #8F3BB8 #7C2EA3",
    },
}
_PALETTE = [
    "green",
    "semi-dark-yellow",
    "light-blue",
    "semi-dark-orange",
    "red",
    "blue",
    "purple",
    "#705DA0",
    "dark-green",
    "yellow",
    "#447EBC",
    "#C15C17",
    "#890F02",
    "#0A437C",
    "#6D1F62",
    "#584477",
    "#B7DBAB",
    "#F4D598",
    "#70DBED",
    "#F9BA8F",
    "#F29191",
    "#82B5D8",
    "#E5A8E2",
    "#AEA2E0",
    "#629E51",
    "#E5AC0E",
    "#64B0C8",
]
_HEX = re.compile(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_RGB = re.compile(r"rgba?\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?:,\s*[\d.]+\s*)?\)")


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of everything that is no data."""

    name: str
    page: str
    panel: str
    text: str
    weak: str
    line: str
    link: str

    def color(self, name: object) -> str:
        """A colour as six hexadecimal digits; one that we do not know is grey, never a text of its author's."""
        text = str(name)
        hues = {
            shade + hue: value
            for hue, values in _HUES[self.name].items()
            for shade, value in zip(_SHADES, values.split(), strict=True)
        }
        if text in hues:
            return hues[text]
        if _HEX.fullmatch(text):
            return text if len(text) == 7 else "#" + "".join(2 * digit for digit in text[1:])
        if found := _RGB.fullmatch(text):
            return "#" + "".join(f"{min(int(part), 255):02x}" for part in found.groups()[:3])
        return {"text": self.text, "white": "#ffffff", "black": "#000000"}.get(text, "#8e8e99")

    def series(self, index: int) -> str:
        """The colour of the nth series of a graph."""
        return self.color(_PALETTE[index % len(_PALETTE)])


LIGHT = Theme("light", "#f4f5f5", "#ffffff", "#24292e", "#5a5f66", "#d9dadd", "#1250b0")
DARK = Theme("dark", "#111217", "#181b1f", "#ccccdc", "#a3a4b4", "#34363c", "#6e9fff")
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}


def ink(background: str) -> str:
    """Black or white, whichever is read better on a background."""
    shine = luminance(background)
    return "#ffffff" if 1.05 / (shine + 0.05) >= (shine + 0.05) / 0.05 else "#000000"


def luminance(color: str) -> float:
    """Relative luminance as the WCAG define it."""
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def readable(color: str, theme: Theme) -> str:
    """The colour, or a mix of it with the text's that has a contrast of 4.5 on a panel, as text needs."""
    ground = luminance(theme.panel)
    for share in range(11):
        mixed = _mixed(color, theme.text, share / 10)
        high, low = sorted((luminance(mixed), ground), reverse=True)
        if (high + 0.05) / (low + 0.05) >= 4.5:
            return mixed
    return theme.text


def _mixed(first: str, second: str, share: float) -> str:
    pairs = ((int(first[at : at + 2], 16), int(second[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)

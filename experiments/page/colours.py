"""The house's colours on a dark ground: the same hues, light enough to be seen.

Contrast is that of WCAG 2.2, success criterion 1.4.11: from 1 (none) to 21, and 3 for what a drawing needs.
"""

import colorsys

LIGHT_GROUND, DARK_GROUND = "#ffffff", "#16191d"
BRIGHTEST = "#eceff1"  # what black becomes
CONTRAST = 4.5
GREY_BELOW = 0.08  # of saturation


def on_dark(colour: str) -> str:
    """What `#rrggbb` becomes. Greys turn over, white to the ground and black to BRIGHTEST; hues are lightened."""
    red, green, blue = _channels(colour)
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    if max(red, green, blue) - min(red, green, blue) < GREY_BELOW:
        ends = zip(_channels(DARK_GROUND), _channels(BRIGHTEST), strict=True)
        return _hex([bright + light * (dark - bright) for dark, bright in ends])
    found = colour.lower()
    while contrast(found, DARK_GROUND) < CONTRAST and light < 1:
        light = min(1.0, light + 0.02)
        found = _hex(colorsys.hls_to_rgb(hue, light, saturation))
    return found


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def _hex(channels) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)

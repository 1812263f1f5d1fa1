"""HTML that cannot be broken by what it holds: text is escaped unless it is markup made here."""

import html
from collections.abc import Iterable


class Markup(str):
    """Text that is HTML already."""


Content = str | Markup | Iterable["Content"]

VOID = ("br", "hr", "input", "meta")


def tag(name: str, *content: Content, **attributes: str | int | float | bool | None) -> Markup:
    """`<name attributes>content</name>`. Attributes that are None or False are left out, True stands alone; a trailing
    underscore is dropped (`class_`) and others become hyphens (`aria_label`)."""
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in VOID else f"{opening}{join(content)}</{name}>")


def join(content: Content) -> Markup:
    """One piece of markup from text, markup and sequences of them."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(html.escape(content))
    return Markup("".join(join(one) for one in content))

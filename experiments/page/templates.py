"""The templates of the pages: HTML with the macros of `parts.html` and one style sheet. All values are escaped."""

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(PAGE)
    made = Environment(
        loader=loader,
        autoescape=template.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.globals |= vars(made.get_template("parts.html").module)
    return made.get_template(template).render(css=text("page.css"), **values)


def text(file: str) -> str:
    return (PAGE / file).read_text(encoding="utf-8")

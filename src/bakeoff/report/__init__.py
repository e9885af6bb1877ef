"""A decision for people: on the terminal, as one HTML page, in a notebook. Values in, text out."""

from bakeoff.report.page.html import render_html
from bakeoff.report.terminal import render_terminal
from bakeoff.report.text.units import clean

__all__ = ["clean", "render_html", "render_terminal"]

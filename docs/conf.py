"""The book: the Markdown pages of the repository as they are, in one place. ``make docs`` builds it.

The source folder is the repository, not ``docs``: so a link from page to page is the same here and on GitHub,
and a link to any other file becomes a download. Nothing is fetched, at build time or by the pages.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

project = "bakeoff"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = ["docs/**", "*.md", "examples/*/README.md", "src/bakeoff/demo/data/*.md"]
# Folders without pages need not be walked.
exclude_patterns = ["build", ".*", "node_modules", "tests", "dist", "demo"]

# Anchors of headings as GitHub makes them; tools/check_links.py checks the same ones.
myst_heading_anchors = 4
# Most blocks hold commands with their output, in no language of their own.
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 90
napoleon_numpy_docstring = False
# An attribute is described where its class is; otherwise it would be there twice.
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"bakeoff {release}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
# The front page of the book lies in build/docs/docs; this one leads there.
html_extra_path = ["front"]

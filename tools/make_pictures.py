"""Make the pictures of the README from a real project: the report's first page, and `bakeoff decide`.

``python tools/make_pictures.py FOLDER`` photographs the report of a project in which ``bakeoff demo`` or
``bakeoff run`` ended, and runs ``bakeoff decide`` there once more, which reuses the decision. It writes
``docs/images/report.png`` and ``docs/images/decide.svg``. The browser is the system's Chromium.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).parents[1] / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CONFIGS = ("config", "bakeoff.yaml")
COLUMNS = 110
WIDTH, SCALE = 1280, 1
# Rich's own format loads a font from the network; a picture must load nothing.
SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>The output of bakeoff decide in a terminal</title>
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, "Liberation Mono", monospace;
}}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def main() -> int:
    """Make both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"), help="project folder [demo]")
    folder: Path = parser.parse_args().folder
    report = folder / "results" / "report.html"
    config = next((folder / name for name in CONFIGS if (folder / name).exists()), None)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if config is None or not report.is_file():
        return _fail(
            f"{folder}: found no finished project; run `make demo`, or name a folder with results/report.html"
        )
    if browser is None:
        return _fail(f"found no browser; install one of {', '.join(BROWSERS)}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    decided = record_decide(config, f"{folder.name}/{config.name}")
    (IMAGES / "decide.svg").write_text(decided, encoding="utf-8")
    photograph(report, browser, IMAGES / "report.png")
    for name in ("decide.svg", "report.png"):
        sys.stdout.write(f"{IMAGES / name}: {(IMAGES / name).stat().st_size:,} bytes\n")
    return 0


def record_decide(config: Path, shown: str) -> str:
    """Run ``bakeoff decide``, and draw what it printed as a terminal.

    Args:
        config: Configuration of the project.
        shown: Its name in the picture.
    """
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "bakeoff", "decide", "--quiet", "--config", str(config)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.assemble(("$ ", "bold green"), f"bakeoff decide --config {shown}"))
    console.print(Text.from_ansi(done.stdout))
    svg = console.export_svg(title="bakeoff decide", code_format=SVG, unique_id="decide")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def photograph(report: Path, browser: str, picture: Path) -> None:
    """Photograph the page from the top to the end of its drawing."""
    from playwright.sync_api import sync_playwright

    options = (
        ["--no-sandbox"] if os.geteuid() == 0 else []
    )  # Chromium refuses to run as root with its sandbox
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--disable-gpu", *options])
        page = chromium.new_page(viewport={"width": WIDTH, "height": 900}, device_scale_factor=SCALE)
        page.goto(report.resolve().as_uri())
        height = page.evaluate(
            "document.querySelector('figure').getBoundingClientRect().bottom + scrollY + 24"
        )
        page.screenshot(path=picture, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        chromium.close()


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())

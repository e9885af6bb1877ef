"""Fail on a relative link or anchor in the documentation that leads nowhere; the web is not visited."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"(?<!`)!?\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+\s+(.+?)\s*$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a Markdown page."""
    titles = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: Path) -> list[str]:
    """List the links of a page that lead nowhere."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    dead = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        is_missing_anchor = (
            bool(anchor)
            and aim.suffix == ".md"
            and aim.exists()
            and anchor not in anchors(aim.read_text(encoding="utf-8"))
        )
        if not aim.exists() or is_missing_anchor:
            dead.append(f"{page}: {target}")
    return dead


def main() -> int:
    """Check every Markdown page that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    dead = [line for page in listed for line in dead_links(Path(page))]
    sys.stdout.write("".join(f"dead link: {line}\n" for line in dead))
    sys.stdout.write(f"{len(listed)} pages, {len(dead)} dead links\n")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())

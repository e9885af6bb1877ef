"""``python -m bakeoff``."""

import os
import sys

# ``-m`` puts the working folder first: a ``random.py`` in it would take the place of the standard library's.
if sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 - pathlib itself may lie there
    del sys.path[0]

from bakeoff.cli import main

if __name__ == "__main__":
    main()

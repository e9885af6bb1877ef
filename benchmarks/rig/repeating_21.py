"""Every call is 21 calls."""

import sys

from rig.repeating import main

sys.exit(main(21))

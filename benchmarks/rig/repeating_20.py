"""Every call is 20 calls."""

import sys

from rig.repeating import main

sys.exit(main(20))

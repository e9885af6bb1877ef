"""The demo: three backbones, labelled text and two configurations, all from installed packages."""

from bakeoff.demo.baseline import BASELINE, log_baseline
from bakeoff.demo.workspace import make_workspace

__all__ = ["BASELINE", "log_baseline", "make_workspace"]

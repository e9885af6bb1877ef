"""The demo: three backbones, labelled text and a configuration, all from installed packages."""

from bakeoff.demo.workspace import make_workspace

__all__ = ["make_workspace"]

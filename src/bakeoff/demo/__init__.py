"""The demo: three backbones and labelled text that come with the packages, and a configuration for them."""

from bakeoff.demo.workspace import make_workspace

__all__ = ["make_workspace"]

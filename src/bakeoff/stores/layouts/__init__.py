"""Layouts: tables for reading the sweeps of other programs. Each is one YAML file; you can add your own."""

from bakeoff.stores.layouts.layout import Layout
from bakeoff.stores.layouts.loading import BUILT_IN, OWN_LAYOUT, load_layout
from bakeoff.stores.layouts.reading import Sweep, read_rows
from bakeoff.stores.layouts.recognition import (
    Recognition,
    count_metrics,
    count_objectives,
    count_own_metrics,
    name_by_parents,
    recognise,
)
from bakeoff.stores.layouts.row import RunRow

__all__ = [
    "BUILT_IN",
    "OWN_LAYOUT",
    "Layout",
    "Recognition",
    "RunRow",
    "Sweep",
    "count_metrics",
    "count_objectives",
    "count_own_metrics",
    "load_layout",
    "name_by_parents",
    "read_rows",
    "recognise",
]

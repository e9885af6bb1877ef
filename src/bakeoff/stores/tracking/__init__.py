"""The tracking store: the only importer of mlflow."""

from bakeoff.stores.tracking.client import Tracker, quote_filter_value
from bakeoff.stores.tracking.connection import create_client

__all__ = ["Tracker", "create_client", "quote_filter_value"]

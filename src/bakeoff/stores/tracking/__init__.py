"""The tracking store: the only importer of mlflow."""

from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.connection import borrowing_process, create_client
from bakeoff.stores.tracking.queries import quote_filter_value

__all__ = ["Tracker", "borrowing_process", "create_client", "quote_filter_value"]

"""Documents: files in common formats become rows, and rows become documents.

``read_rows`` reads a file for any task; ``read_document_file`` lets the task make documents of its rows.
"""

from bakeoff.stores.documents.datasets_folder import digest_data
from bakeoff.stores.documents.documents import (
    count_leaked,
    name_fields,
    read_document_file,
    read_documents,
    require_labels,
)
from bakeoff.stores.documents.fields import Fields
from bakeoff.stores.documents.json_files import write_rows
from bakeoff.stores.documents.read import read_rows

__all__ = [
    "Fields",
    "count_leaked",
    "digest_data",
    "name_fields",
    "read_document_file",
    "read_documents",
    "read_rows",
    "require_labels",
    "write_rows",
]

"""The HTML page, one self-contained file."""

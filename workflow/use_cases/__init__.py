"""What commands, pages and the Python API call."""

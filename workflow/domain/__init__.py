"""The pure core: values and plain functions on the standard library and numpy."""

"""DICOM studies whose truth is known: CT series, and the prompts that a reader would have stored with them.

What is written depends on its arguments only, never on the clock: the same case gives the same bytes.
"""

"""Tumorline: oncology follow-up from PACS event to SEG and SR. The stages, one file each."""

__version__ = "0.1.0"

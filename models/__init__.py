"""Segmentation and tracking models behind the small Protocols of `workflow.ports`."""

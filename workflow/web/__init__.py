"""The pages, behind a login."""

from workflow.web.app import make_app

__all__ = ["make_app"]

"""What every part of the web application is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import FileResponse
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException

from workflow.domain.response.policy import CRITERIA_WORDS
from workflow.domain.states import RESULT_WORDS, VISIT_WORDS
from workflow.engine.context import Context
from workflow.settings import Settings
from workflow.web.access import Access

FOLDER = Path(__file__).parent

# The pages of the bar at the top: title and path.
PAGES = (("Worklist", "/"), ("Board", "/board"), ("Cohort", "/cohort"))


@dataclass(frozen=True, kw_only=True)
class Site:
    """The installation behind the pages, who may see them, and the templates."""

    context: Context
    settings: Settings
    access: Access
    templates: Jinja2Templates

    def render(self, request: Request, template: str, status_code: int = 200, **values: Any) -> Response:
        """A page; every template also knows the words of states, the pages of the bar and the user."""
        shown = {"user": getattr(request.state, "user", None), **values}
        return self.templates.TemplateResponse(request, template, shown, status_code=status_code)


def open_site(context: Context, settings: Settings) -> Site:
    """Connect pages to an installation.

    Raises
    ------
    ConfigurationError
        If a login is wanted with an empty name or password.
    """
    templates = Jinja2Templates(FOLDER / "templates")
    templates.env.globals |= {
        "visit_words": VISIT_WORDS,
        "result_words": RESULT_WORDS,
        "criteria_words": CRITERIA_WORDS,
        "pages": PAGES,
    }
    return Site(context=context, settings=settings, access=Access(settings), templates=templates)


def file_answer(path: Path | None, media_type: str, what: str) -> FileResponse:
    """A file, or 404 in words."""
    if path is None:
        raise HTTPException(404, f"there is no such {what}")
    if not path.is_file():
        raise HTTPException(404, "the file is gone")
    return FileResponse(path, media_type=media_type)

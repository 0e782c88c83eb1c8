"""What every part of the web application is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Path as PathParameter
from fastapi import Request, Response
from fastapi.responses import FileResponse
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException

from workflow.domain.response.policy import CRITERIA_WORDS
from workflow.domain.states import RESULT_WORDS, VISIT_WORDS
from workflow.domain.users import User, UserRole
from workflow.engine.context import Context
from workflow.settings import Settings
from workflow.web.access import Access

FOLDER = Path(__file__).parent

# The pages of the bar at the top: title and path, and those that are some people's only.
PAGES = (("Worklist", "/"), ("Board", "/board"), ("Cohort", "/cohort"), ("Operations", "/operations"))
PAGES_OF: Mapping[str, UserRole] = {"/operations": UserRole.OPERATOR}

# A key of a row, as part of a path: what no database could hold is not found, and never asked for.
Key = Annotated[int, PathParameter(ge=1, lt=2**31)]


@dataclass(frozen=True, kw_only=True)
class Site:
    """The installation behind the pages, who may see them, and the templates."""

    context: Context
    settings: Settings
    access: Access
    templates: Jinja2Templates

    def render(self, request: Request, template: str, status_code: int = 200, **values: Any) -> Response:
        """A page; every template also knows the words of states, the pages of the bar and the user.

        `csrf_token` is for the forms and scripts of that user (see `workflow.web.access`).
        """
        user: User | None = getattr(request.state, "user", None)
        pages = [(title, path) for title, path in PAGES if user and _may_see(user, path)]
        csrf_token = getattr(request.state, "csrf_token", "")
        shown = {
            "user": user,
            "csrf_token": csrf_token,
            "pages": pages,
            "has_login": self.access.has_login,
            **values,
        }
        return self.templates.TemplateResponse(request, template, shown, status_code=status_code)


def open_site(context: Context, settings: Settings) -> Site:
    """Connect pages to an installation."""
    templates = Jinja2Templates(FOLDER / "templates")
    templates.env.globals |= {
        "visit_words": VISIT_WORDS,
        "result_words": RESULT_WORDS,
        "criteria_words": CRITERIA_WORDS,
    }
    access = Access(settings, context.users)
    return Site(context=context, settings=settings, access=access, templates=templates)


def _may_see(user: User, path: str) -> bool:
    return path not in PAGES_OF or user.may(PAGES_OF[path])


def file_answer(path: Path | None, media_type: str, what: str) -> FileResponse:
    """A file, or 404 in words."""
    if path is None:
        raise HTTPException(404, f"there is no such {what}")
    if not path.is_file():
        raise HTTPException(404, "the file is gone")
    return FileResponse(path, media_type=media_type)

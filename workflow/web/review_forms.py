"""The decisions of the review page: how each is asked for, and what a browser sends of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workflow.domain.drawing import MOST_MARKS, Mark, MarkKind
from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Decision
from workflow.domain.report import ROLE_WORDS, LesionRole
from workflow.domain.response import Criteria, Intervention, InterventionEffect, InterventionKind, NewLesion
from workflow.domain.response import Response as Judgement
from workflow.domain.states import LESION_WORDS
from workflow.domain.users import User, UserRole
from workflow.review import Ruling


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A field of a form: a list to choose from, a number, a date, or another lesion."""

    name: str
    label: str
    kind: Literal["select", "number", "date", "lesion"] = "select"
    options: tuple[tuple[str, str], ...] = ()
    is_required: bool = True


@dataclass(frozen=True, kw_only=True)
class Form:
    """A decision as it is asked for on the page.

    Attributes
    ----------
    key
        The key that opens it; a capital is with Shift.
    about
        The lesion that is looked at, or the visit as a whole.
    reasons
        Usual ones, to be taken as they are or written over.
    is_everywhere
        Whether it holds at all visits, not at this one.
    """

    key: str
    decision: Decision
    title: str
    about: Literal["lesion", "visit"]
    reasons: tuple[str, ...]
    fields: tuple[Choice, ...] = ()
    is_of_follow_ups: bool = False
    is_everywhere: bool = False
    needs: UserRole | None = None

    @property
    def name(self) -> str:
        """What the page calls it: the decision, and what it is about."""
        return f"{self.decision.value.replace(' ', '-')}-{self.about}"


def _words(kind: type[Any], words: Callable[[Any], str] = str) -> tuple[tuple[str, str], ...]:
    return tuple((one.value, words(one)) for one in kind)


_FINDINGS = (("yes", "definite"), ("equivocal", "equivocal"))
_R = Judgement
_OVERALL = tuple((r.value, r.value) for r in (_R.CR, _R.PR, _R.SD, _R.NON_CR_NON_PD, _R.PD, _R.NE))
_IMMUNE = tuple(
    (r.value, r.value) for r in (_R.ICR, _R.IPR, _R.ISD, _R.NON_ICR_NON_IUPD, _R.IUPD, _R.ICPD, _R.NE)
)

FORMS: tuple[Form, ...] = (
    Form(
        key="d",
        decision=Decision.SET_DIAMETER,
        title="Correct the diameter",
        about="lesion",
        fields=(Choice(name="diameter_mm", label="Diameter, mm", kind="number"),),
        reasons=(
            "vessel included",
            "part of the lesion left out",
            "other slice shows it larger",
            "measured by hand",
        ),
    ),
    Form(
        key="s",
        decision=Decision.SET_STATE,
        title="Correct the state",
        about="lesion",
        fields=(Choice(name="state", label="State", options=_words(LesionState, LESION_WORDS.__getitem__)),),
        reasons=("seen on the images", "nothing is left", "scar only", "too faint to measure"),
    ),
    Form(
        key="r",
        decision=Decision.SET_ROLE,
        title="Change the role",
        about="lesion",
        fields=(Choice(name="role", label="Role", options=_words(LesionRole, ROLE_WORDS.__getitem__)),),
        reasons=(
            "cannot be measured again reliably",
            "cystic",
            "better target than another",
            "as in the protocol",
        ),
        is_everywhere=True,
    ),
    Form(
        key="m",
        decision=Decision.MERGE,
        title="Has merged into another lesion",
        about="lesion",
        fields=(Choice(name="other", label="Merged into", kind="lesion"),),
        reasons=("no plane between them any more",),
    ),
    Form(
        key="k",
        decision=Decision.SPLIT,
        title="Another lesion is a part of this one",
        about="lesion",
        fields=(Choice(name="other", label="The part", kind="lesion"),),
        reasons=("has fallen into parts",),
    ),
    Form(
        key="b",
        decision=Decision.NOT_A_LESION,
        title="Is no lesion",
        about="lesion",
        reasons=("vessel", "scar", "inflammation", "atelectasis", "benign", "artefact"),
        is_everywhere=True,
    ),
    Form(
        key="x",
        decision=Decision.EXCLUDE,
        title="Leave out from this visit on",
        about="lesion",
        reasons=("treated locally", "resected", "another disease"),
    ),
    Form(
        key="v",
        decision=Decision.NOT_EVALUABLE,
        title="Is not evaluable here",
        about="lesion",
        reasons=("not in the field of view", "artefact", "motion", "no contrast medium", "other phase"),
    ),
    Form(
        key="i",
        decision=Decision.INTERVENTION,
        title="Was treated locally",
        about="lesion",
        fields=(
            Choice(name="kind", label="What was done", options=_words(InterventionKind)),
            Choice(name="on", label="On", kind="date", is_required=False),
            Choice(
                name="effect",
                label="Effect on the assessment",
                options=(("", "the usual one"), *_words(InterventionEffect)),
                is_required=False,
            ),
        ),
        reasons=("said in the referral", "seen on the images"),
    ),
    Form(
        key="e",
        decision=Decision.NEW_LESION,
        title="Is a new lesion",
        about="lesion",
        fields=(Choice(name="finding", label="The finding is", options=_FINDINGS),),
        reasons=("not there before", "may be inflammation: look again next time", "confirmed since"),
        is_of_follow_ups=True,
    ),
    Form(
        key="g",
        decision=Decision.UNEQUIVOCAL_PROGRESSION,
        title="Has progressed unequivocally",
        about="lesion",
        reasons=("clearly larger", "substantial worsening"),
        is_of_follow_ups=True,
    ),
    Form(
        key="G",
        decision=Decision.UNEQUIVOCAL_PROGRESSION,
        title="Unequivocal progression of non-target disease",
        about="visit",
        reasons=("overall burden has grown enough to change therapy", "effusion has grown", "carcinomatosis"),
        is_of_follow_ups=True,
    ),
    Form(
        key="a",
        decision=Decision.NEW_LESION,
        title="New lesion that nobody outlined",
        about="visit",
        fields=(Choice(name="finding", label="The finding is", options=_FINDINGS),),
        reasons=("seen on another examination", "outside the measured series"),
        is_of_follow_ups=True,
    ),
    Form(
        key="o",
        decision=Decision.SET_OVERALL,
        title="Set the overall response",
        about="visit",
        fields=(Choice(name="overall", label="Overall response", options=_OVERALL),),
        reasons=("decided between readers", "clinical information", "measured on another phase"),
        is_of_follow_ups=True,
        needs=UserRole.ADJUDICATOR,
    ),
)


def forms_for(user: User, criteria: Criteria, *, is_follow_up: bool) -> list[Form]:
    """The decisions that a user may make about a visit."""
    found = []
    for form in FORMS:
        if (form.needs is not None and not user.may(form.needs)) or (
            form.is_of_follow_ups and not is_follow_up
        ):
            continue
        if form.decision is Decision.SET_OVERALL and criteria is Criteria.IRECIST:
            form = replace(form, fields=(replace(form.fields[0], options=_IMMUNE),))
        found.append(form)
    return found


# ---------------------------------------------------------------- what a browser sends


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seen: str = Field(description="The token of what the reader looked at.")


class DecisionBody(_Body):
    """A decision about a lesion, or about the visit."""

    id: uuid.UUID
    decision: Decision
    reason: str = Field(default="", max_length=500)
    lesion: str | None = None
    role: LesionRole | None = None
    state: LesionState | None = None
    diameter_mm: float | None = Field(default=None, ge=0, le=1000, allow_inf_nan=False)
    other: str | None = None
    finding: NewLesion | None = None
    kind: InterventionKind | None = None
    on: date | None = None
    effect: InterventionEffect | None = None
    overall: Judgement | None = None

    def ruling(self, day: date) -> Ruling:
        """The decision, about the visit of a day or about all of them."""
        everywhere = {form.decision for form in FORMS if form.is_everywhere}
        done = Intervention(kind=self.kind, effect=self.effect, date=self.on) if self.kind else None
        return Ruling(
            id=str(self.id),
            decision=self.decision,
            reason=self.reason,
            lesion=self.lesion,
            day=None if self.decision in everywhere else day,
            role=self.role,
            state=self.state,
            diameter_mm=self.diameter_mm,
            other=self.other,
            finding=self.finding,
            intervention=done,
            overall=self.overall,
        )


class TakeAllBody(_Body):
    """All open lesions that nothing is remarkable about are right as they are."""

    id: uuid.UUID


class UndoBody(_Body):
    """The reader's latest decisions are taken back; `of` are their ids."""

    of: list[str]


class SignBody(_Body):
    """The reader stands behind what is said."""


class MarkBody(BaseModel):
    """A mark as it was drawn on the canvas; see `workflow.domain.drawing.Mark`."""

    model_config = ConfigDict(extra="forbid")

    kind: MarkKind
    slice: int
    points: list[tuple[float, float]] = Field(max_length=4)
    is_positive: bool = True

    def mark(self) -> Mark:
        """The mark; both axes of which only the long one was drawn are a line."""
        is_half = self.kind is MarkKind.AXES and len(self.points) == 2
        return Mark(
            kind=MarkKind.LINE if is_half else self.kind,
            slice_index=self.slice,
            points=tuple(self.points),
            is_positive=self.is_positive,
        )


class MarksBody(_Body):
    """What was drawn of one lesion: a new one, or (`lesion`) a known one.

    `is_refined` keeps the present outline's axes beside the new marks: they correct it.
    """

    id: uuid.UUID
    volume: str
    lesion: str | None = None
    label: str = Field(default="", max_length=60)
    is_refined: bool = False
    marks: list[MarkBody] = Field(max_length=MOST_MARKS)

"""Response assessment: RECIST 1.1 and its neighbours as pure, exact functions with reasons."""

from workflow.domain.response.course import (
    Assessment,
    BestResponse,
    Course,
    Duration,
    Event,
    LesionContribution,
)
from workflow.domain.response.engine import assess
from workflow.domain.response.policy import (
    CarryForward,
    Criteria,
    Policies,
    Protocol,
    Reappearance,
    VisitDate,
    criteria_of,
)
from workflow.domain.response.quantities import micrometres, millimetres, mm_text
from workflow.domain.response.timeline import (
    ClinicalStatus,
    Corticosteroids,
    Intervention,
    InterventionEffect,
    InterventionKind,
    Lesion,
    Observation,
    Timeline,
    TimePoint,
    Uptake,
)
from workflow.domain.response.values import NewLesion, Response, TimelineError, new_lesion_of, response_of

__all__ = [
    "Assessment",
    "BestResponse",
    "CarryForward",
    "ClinicalStatus",
    "Corticosteroids",
    "Course",
    "Criteria",
    "Duration",
    "Event",
    "Intervention",
    "InterventionEffect",
    "InterventionKind",
    "Lesion",
    "LesionContribution",
    "NewLesion",
    "Observation",
    "Policies",
    "Protocol",
    "Reappearance",
    "Response",
    "TimePoint",
    "Timeline",
    "TimelineError",
    "Uptake",
    "VisitDate",
    "assess",
    "criteria_of",
    "micrometres",
    "millimetres",
    "mm_text",
    "new_lesion_of",
    "response_of",
]

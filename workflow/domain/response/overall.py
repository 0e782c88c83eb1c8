"""Overall response from target, non-target and new lesions (RECIST 1.1, Tables 1 and 2)."""

from __future__ import annotations

from workflow.domain.response.values import NOT_EVALUABLE, Response

R = Response

_ABSENT = frozenset({None, R.NA, R.NED})


def overall_response(
    target: Response | None, non_target: Response | None, *, has_new_lesion: bool
) -> Response:
    """The overall response; total over every combination.

    None (or NA, NED) says that the patient has no lesions of that kind, NE that they were not
    all evaluated. Tables 1 and 2 print a part of the combinations; where they are silent:
    (NE, NE, no) is NE, and a kind that is absent is left out of account.
    """
    if has_new_lesion or target is R.PD or non_target is R.PD:
        return R.PD
    if target in _ABSENT:
        return _non_target_only(non_target)
    if target in NOT_EVALUABLE:
        return R.NE
    if target is R.CR and not (non_target in _ABSENT or non_target is R.CR):
        return R.PR
    return target if target is not None else R.NE


def _non_target_only(non_target: Response | None) -> Response:
    if non_target in _ABSENT:
        return R.NED
    if non_target in NOT_EVALUABLE:
        return R.NE
    # A reader may call persisting non-target disease PR or SD; the criteria know only one word for it.
    return R.CR if non_target is R.CR else R.NON_CR_NON_PD

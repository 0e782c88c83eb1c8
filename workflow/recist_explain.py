"""The rules and the policy table in words, for `tumorline recist --explain`."""

from __future__ import annotations

from dataclasses import fields

from workflow.domain.response import Policies
from workflow.domain.response.edit_checks import CHECKS
from workflow.domain.response.policy import POLICY_TABLE

RULES = """\
RECIST 1.1
  Target lesions   sum of diameters: long axis, short axis of a node, 5 mm if too small to measure, 0 if gone.
    CR   every lesion gone, every node below 10 mm
    PD   20 % and 5 mm above the nadir (the smallest sum so far, baseline included); goes before PR
    PR   30 % below the baseline
    SD   neither
    NE   a lesion was not evaluated, unless the others alone already prove PD
  Non-target       CR all gone, PD unequivocal progression, NE not all evaluated, else Non-CR/Non-PD.
  New lesion       PD; equivocal ones are followed, and date the progression if they prove to be new.
  Overall          any PD is PD; CR needs CR of both; target CR with other non-target is PR; target NE is NE.
  Best response    the best up to the first PD; SD after the minimum days. Confirmed: CR and PR seen again.

iRECIST
  PD is iUPD first. iCPD after the minimum days with further growth: target sum 5 mm, any non-target growth,
  new lesions 5 mm (targets), any growth (others) or one more, or progression of another category.
  A response against baseline takes iUPD back. New lesions are measured apart, never added to the sum.
"""


def explanation() -> str:
    """Rules, policies with their defaults, and edit checks, with their sources."""
    defaults = Policies()
    lines = [RULES, "Policies (--policy name=value)"]
    for item in fields(Policies):
        value = getattr(defaults, item.name)
        meaning, source = POLICY_TABLE[item.name]
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        lines += [f"  {item.name} = {shown}", f"      {meaning}", f"      source: {source}"]
    lines += ["", "Edit checks (a warning each; none changes a response)"]
    for name, (meaning, source) in CHECKS.items():
        lines += [f"  {name}", f"      {meaning}", f"      source: {source}"]
    return "\n".join(lines)

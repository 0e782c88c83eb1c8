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

Other criteria, each with its own words and inputs (docs/recist.md)
  imrecist     RECIST 1.1 with measurable new lesions in the sum; progression can be taken back.
  mrecist      the part that still enhances in the arterial phase; PD at 20 % alone.
  percist-1.0  SULpeak of the hottest lesion against baseline: 30 % and 0.8.
  lugano-2014  PET by the Deauville score, else products of diameters: 50 % down, 50 % up.
  lyric        Lugano with indeterminate responses IR1, IR2, IR3 before PD.
  rano-2.0     products of diameters: 50 % down, 25 % up; steroids, clinical status, radiotherapy.
  choi         10 % in size or 15 % in attenuation.
  pcwg3        RECIST 1.1 on soft tissue, the 2+2 rule on bone scans.
  gcig-ca125   RECIST 1.1 and CA-125.
  recist-1.0   longest diameters; PD at 20 % alone.
  who          products of diameters: 50 % down, one lesion 25 % up.
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

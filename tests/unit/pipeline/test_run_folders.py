"""Each patient's results have a folder of their own, whatever the PatientID."""

from __future__ import annotations

from datetime import date

from hospital import Hospital, Study

from workflow.listener import ImportResult
from workflow.use_cases.run import export, folder_names


def _course(patient_id: str, issuer: str = "") -> dict[str, str]:
    return {"patient_id": patient_id, "issuer_of_patient_id": issuer}


def test_a_plain_patient_id_is_the_folder():
    assert folder_names([_course("P-1"), _course("ID.2", "HOSPITAL")]) == ["P-1", "ID.2"]


def test_ids_that_look_alike_as_names_and_ids_of_two_issuers_have_folders_of_their_own():
    patients = [_course("A/B"), _course("A_B"), _course("A B"), _course("P", "ONE"), _course("P", "TWO")]
    names = folder_names(patients)
    assert len(set(names)) == 5
    assert (names[1], names[3]) == ("A_B", "P")
    assert names[0].startswith("A_B-")


def test_a_patient_keeps_the_folder_when_others_come():
    assert (
        folder_names([_course("P", "ONE"), _course("P", "TWO")])[0] == folder_names([_course("P", "ONE")])[0]
    )
    assert folder_names([_course("A/B"), _course("A_B")])[0] == folder_names([_course("A/B")])[0]


def test_no_patient_id_leads_out_of_the_results():
    for name in folder_names(
        [_course(".."), _course("../x"), _course("."), _course(""), _course(".tumorline")]
    ):
        assert "/" not in name
        assert not name.startswith(".")


def test_two_patients_with_ids_alike_are_both_exported(tmp_path):
    hospital = Hospital(tmp_path)
    hospital.process(*(Study(day=date(2024, 1, 2), patient_id=name, name=name) for name in ("A B", "A_B")))
    done = export(hospital.context, tmp_path / "out", ImportResult(new=0, known=0, rejected=()))
    assert len({folder for folder in done.folders if (folder / "timeline.json").exists()}) == 2

"""Every coded concept that we write or read, once, with where it comes from.

Taken from `pydicom.sr.codedict` (PS3.16) where it is there. What the standard has no code for is in
our private scheme `99TUMORLINE`, which every object that uses it declares
(`PRIVATE_CODING_SCHEME`, PS3.3 C.12.1.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from workflow.domain.anatomy import site_of_code, site_of_words
from workflow.domain.report import ReportedLesion
from workflow.domain.response.policy import CRITERIA_WORDS

PRIVATE_CODING_SCHEME: Final = "99TUMORLINE"
PRIVATE_CODING_SCHEME_NAME: Final = "Tumorline response assessment concepts"
PRIVATE_CODING_SCHEME_ORGANIZATION: Final = "Tumorline"


def private(value: str, meaning: str) -> Code:
    """A concept of our own: the code value has at most 16 characters (VR SH)."""
    if len(value) > 16:
        raise ValueError(f"code value {value!r} has {len(value)} characters; 16 fit")
    return Code(value, PRIVATE_CODING_SCHEME, meaning)


# ---------------------------------------------------------------- document and containers (PS3.16 TID 1500)
IMAGING_MEASUREMENT_REPORT = codes.DCM.ImagingMeasurementReport  # OHIF hydrates only this title
ONCOLOGY_MEASUREMENT_REPORT = codes.DCM.OncologyMeasurementReport
IMAGING_MEASUREMENTS = codes.DCM.ImagingMeasurements
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
DERIVED_IMAGING_MEASUREMENTS = codes.DCM.DerivedImagingMeasurements  # TID 1500 row 10
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500 row 12
IMAGE_LIBRARY = codes.DCM.ImageLibrary
IMAGE_LIBRARY_GROUP = codes.DCM.ImageLibraryGroup
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = codes.DCM.Modality
MODALITIES: Final[Mapping[str, Code]] = {  # CID 29
    "CT": codes.DCM.ComputedTomography,
    "MR": codes.DCM.MagneticResonance,
    "PT": codes.DCM.PositronEmissionTomography,
}
FRAME_OF_REFERENCE_UID = codes.DCM.FrameOfReferenceUID
PIXEL_DATA_ROWS = codes.DCM.PixelDataRows
PIXEL_DATA_COLUMNS = codes.DCM.PixelDataColumns
HORIZONTAL_PIXEL_SPACING = codes.DCM.HorizontalPixelSpacing
VERTICAL_PIXEL_SPACING = codes.DCM.VerticalPixelSpacing
PIXELS = Code("{pixels}", "UCUM", "Pixels")
LANGUAGE = codes.DCM.LanguageOfContentItemAndDescendants
ENGLISH = Code("en", "RFC5646", "English")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
PROCEDURE_REPORTED = codes.DCM.ProcedureReported
COMMENT = codes.DCM.Comment
SHORT_LABEL = Code("125309", "DCM", "Short label")
OBSERVER_TYPE = codes.DCM.ObserverType  # TID 1002 to 1004
DEVICE = codes.DCM.Device
PERSON = codes.DCM.Person
PERSON_OBSERVER_NAME = codes.DCM.PersonObserverName
DEVICE_OBSERVER_UID = codes.DCM.DeviceObserverUID
DEVICE_OBSERVER_NAME = codes.DCM.DeviceObserverName
DEVICE_OBSERVER_MANUFACTURER = codes.DCM.DeviceObserverManufacturer
DEVICE_OBSERVER_MODEL_NAME = codes.DCM.DeviceObserverModelName
DEVICE_OBSERVER_SERIAL_NUMBER = codes.DCM.DeviceObserverSerialNumber

# ---------------------------------------------------------------- one lesion (PS3.16 TID 1501, 1411, 4108)
TRACKING_IDENTIFIER = codes.DCM.TrackingIdentifier
TRACKING_UNIQUE_IDENTIFIER = codes.DCM.TrackingUniqueIdentifier
FINDING = codes.DCM.Finding
FINDING_CATEGORY = Code("276214006", "SCT", "Finding category")
REFERENCED_SEGMENT = codes.DCM.ReferencedSegment
SOURCE_SERIES_FOR_SEGMENTATION = codes.DCM.SourceSeriesForSegmentation
SOURCE_IMAGE = codes.DCM.SourceImageForImageProcessingOperation  # CID 7202
SEGMENTATION = codes.DCM.Segmentation  # CID 7203, how an image was derived
ALGORITHM_NAME = codes.DCM.AlgorithmName  # TID 4019
ALGORITHM_VERSION = codes.DCM.AlgorithmVersion
ALGORITHM_PARAMETERS = codes.DCM.AlgorithmParameters
ALGORITHM_FAMILY = codes.DCM.AlgorithmFamily
DERIVATION = codes.DCM.Derivation
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
LATERALITY = Code("272741003", "SCT", "Laterality")
LESION = codes.SCT.Lesion
LYMPH_NODE = codes.SCT.LymphNode
MORPHOLOGICALLY_ABNORMAL = codes.SCT.MorphologicallyAbnormalStructure  # CID 7150
LATERALITIES: Final[Mapping[str, Code]] = {
    "left": codes.SCT.Left,
    "right": codes.SCT.Right,
    "bilateral": codes.SCT.Bilateral,
}

# Viewers compare the meaning letter by letter: "Long Axis", not the dictionary's "Long axis".
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
SHORT_AXIS = Code("103340004", "SCT", "Short Axis")
VOLUME = codes.SCT.Volume
MEASUREMENT_METHOD = codes.SCT.MeasurementMethod
SUM_OF_SEGMENTED_VOXELS = codes.DCM.SumOfSegmentedVoxelMethodForVolume
MEAN = codes.SCT.Mean

# Viewers print a unit's meaning after the number.
MILLIMETRE = Code("mm", "UCUM", "mm")
CUBIC_MILLIMETRE = Code("mm3", "UCUM", "mm3")
PERCENT = Code("%", "UCUM", "%")
NO_UNITS = codes.UCUM.NoUnits
DAY = Code("d", "UCUM", "days")

INTENSITIES: Final[Mapping[str, tuple[Code, Code]]] = {
    "CT": (codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit),
    "MR": (codes.DCM.MRSignalIntensity, codes.UCUM.NoUnits),
    "PT": (codes.DCM.StandardizedUptakeValue, codes.UCUM.StandardizedUptakeValueBodyWeight),
}
"""Modality to the concept and unit of a mean over the lesion (CID 7469)."""

BASELINE_CATEGORY = codes.DCM.BaselineCategory
BASELINE_CATEGORIES: Final[Mapping[str, Code]] = {  # CID 6145
    "target": codes.DCM.TargetLesionAtBaseline,
    "non_target": codes.DCM.NonTargetLesionAtBaseline,
    "new": codes.DCM.NonLesionAtBaseline,
}

CURRENT_RESPONSE = codes.DCM.CurrentResponse
LESION_RESPONSES: Final[Mapping[str, Code]] = {  # CID 6143
    "target cr": codes.DCM.TargetLesionCompleteResponse,
    "target pr": codes.DCM.TargetLesionPartialResponse,
    "target sd": codes.DCM.TargetLesionStableDisease,
    "target pd": codes.DCM.TargetLesionProgressiveDisease,
    "non-target cr": codes.DCM.NonTargetLesionCompleteResponse,
    "non-target non-cr/non-pd": codes.DCM.NonTargetLesionIncompleteResponseOrStableDisease,
    "non-target sd": codes.DCM.NonTargetLesionIncompleteResponseOrStableDisease,
    "non-target incomplete response or sd": codes.DCM.NonTargetLesionIncompleteResponseOrStableDisease,
    "non-target pd": codes.DCM.NonTargetLesionProgressiveDisease,
}

LESION_STATE = private("LESIONSTATE", "Lesion State")
LESION_STATES: Final[Mapping[str, Code]] = {
    "present": private("PRESENT", "Present"),
    "too_small": private("TOOSMALL", "Too small to measure"),
    "disappeared": private("DISAPPEARED", "Disappeared"),
    "merged": private("MERGED", "Merged with another lesion"),
    "split": private("SPLIT", "Split into parts"),
    "not_evaluable": private("NOTEVALUABLE", "Not evaluable"),
    "tracking_failed": private("TRACKINGFAILED", "Tracking failed"),
}
# A point that a reader set beside the lesion, to say what is not part of it: no standard code says that.
MARK_LIES = private("MARKLIES", "Place of the Mark")
OUTSIDE_LESION = private("OUTSIDELESION", "Outside the Lesion")
LESION_REASON = private("LESIONREASON", "Reason for Lesion State")
QUALITY_FLAG = private("QUALITYFLAG", "Quality Flag")
REJECTED = private("REJECTED", "Rejected by a reader: no lesion")
READERS_DECISION = private("DECISION", "Decision of a Reader")
MEASURED_ON = private("MEASUREDON", "Measured on")
STUDY_INSTANCE_UID = codes.DCM.StudyInstanceUID
SERIES_INSTANCE_UID = codes.DCM.SeriesInstanceUID
DIAMETER = codes.SCT.Diameter  # of a lesion that no sum counts
DIAMETER_IN_SUM = private("DIAMINSUM", "Diameter in Sum of Diameters")
CONFIDENCE = private("CONFIDENCE", "Confidence of Segmentation")
PROMPT_SOURCE = private("PROMPTSOURCE", "Source of Lesion Prompt")

# ---------------------------------------------------------------- time point (PS3.16 TID 1502, CID 6146)
STUDY_DATE = codes.DCM.StudyDate
TIME_POINT = Code("C2348792", "UMLS", "Time Point")
TIME_POINT_TYPE = Code("126072", "DCM", "Time Point Type")
TIME_POINT_ORDER = codes.DCM.TimePointOrder
TEMPORAL_OFFSET = codes.DCM.LongitudinalTemporalOffsetFromEvent
TEMPORAL_EVENT_TYPE = codes.DCM.LongitudinalTemporalEventType
TEMPORAL_EVENT_BASELINE = codes.DCM.Baseline  # CID 280
TIME_POINT_TYPE_BASELINE = Code("C1442488", "UMLS", "Baseline")
TIME_POINT_TYPE_NADIR = Code("C1708760", "UMLS", "Nadir")

# ---------------------------------------------------------------- response
RESPONSE_EVALUATION_METHOD = codes.DCM.ResponseEvaluationMethod
CRITERIA: Final[Mapping[str, Code]] = {  # CID 6147; the others have no code in it
    "RECIST 1.0": codes.DCM.RECIST1Point0,
    "RECIST 1.1": codes.DCM.RECIST1Point1,
    "WHO": codes.DCM.WHO,
    "RANO": codes.NCIt.RANO,
}
BEST_OVERALL_RESPONSE = codes.DCM.BestOverallResponse
TARGET_RESPONSE = private("TARGETRESP", "Response of Target Lesions")
NON_TARGET_RESPONSE = private("NONTARGETRESP", "Response of Non-Target Lesions")
NEW_LESIONS = private("NEWLESIONS", "New Lesions")

SUM_OF_DIAMETERS = private("SUMDIAM", "Sum of Diameters")
BASELINE_SUM = private("SUMDIAMBASELINE", "Sum of Diameters at Baseline")
# What a time point is compared with is the nadir before it; one of Time Point Type "Nadir" has a smaller sum.
EARLIER_NADIR_SUM = private("SUMEARLIERNADIR", "Sum of Diameters at the Nadir before this Time Point")
EARLIER_NADIR_DATE = private("EARLIERNADIRDATE", "Date of the Nadir before this Time Point")
CHANGE_FROM_BASELINE = private("CHANGEBASELINE", "Change of Sum from Baseline")
CHANGE_FROM_NADIR = private("CHANGENADIR", "Change of Sum from the Nadir before this Time Point")
ABSOLUTE_CHANGE_FROM_NADIR = private(
    "ABSCHANGENADIR", "Absolute Change of Sum from the Nadir before this Time Point"
)

RESPONSE_REASON = private("RESPONSEREASON", "Reason for Current Response")
BEST_RESPONSE_REASON = private("BESTREASON", "Reason for Best Overall Response")
SOURCE_REPORT = private("SOURCEREPORT", "Report of the Time Point")
REPORT_OF_VISIT = private("VISITREPORT", "Report of another Study of the Visit")
COMPUTED_RESPONSE = private("COMPUTEDRESP", "Response by the Rules, before a Reader's Decision")
ATTENTION = private("ATTENTION", "To be Looked at before the Numbers Count")
WARNING = private("WARNING", "Warning to the Reader")
NOTE = private("NOTE", "Note on the Examination")

# PS3.16 has no codes for the response of a patient (CID 6143 speaks of single lesions). The NCI Thesaurus has
# some: taken from the data dictionary of the Pediatric Cancer Data Commons (ResponseEnum), the first four
# the same in phenopacket-tools and in ontologies that use NCIt. Its own first names of C4870 and C18058 are
# "Complete Remission" and "Partial Remission", of which "... Response" are synonyms. The rest are ours.
_RESPONSES: Final[Mapping[str, Code]] = {
    "CR": Code("C4870", "NCIt", "Complete Response"),
    "PR": Code("C18058", "NCIt", "Partial Response"),
    "SD": Code("C18213", "NCIt", "Stable Disease"),
    "PD": Code("C35571", "NCIt", "Progressive Disease"),
    "NE": Code("C62222", "NCIt", "Not Evaluable"),
    "NA": Code("C48660", "NCIt", "Not Applicable"),
    "NED": private("NED", "No Evidence of Disease"),
    "ND": private("ND", "Not Done"),
    "NON-CR/NON-PD": private("NONCRNONPD", "Non-CR/Non-PD"),
    "iCR": private("ICR", "Immune Complete Response"),
    "iPR": private("IPR", "Immune Partial Response"),
    "iSD": private("ISD", "Immune Stable Disease"),
    "iUPD": private("IUPD", "Immune Unconfirmed Progressive Disease"),
    "iCPD": private("ICPD", "Immune Confirmed Progressive Disease"),
    "CMR": private("CMR", "Complete Metabolic Response"),
    "PMR": private("PMR", "Partial Metabolic Response"),
    "SMD": private("SMD", "Stable Metabolic Disease"),
    "NMR": private("NMR", "No Metabolic Response"),
    "PMD": private("PMD", "Progressive Metabolic Disease"),
}


def response_code(response: str) -> Code:
    """The code of an overall, target or non-target response ("PR", "iUPD", "NON-CR/NON-PD" ...).

    A response that is not in the table becomes a private code of its own letters, with the words as
    meaning, so that criteria added later need no change here.
    """
    words = response.strip()
    return _RESPONSES.get(words) or private(_code_value(words), words)


def criteria_code(criteria: str) -> Code:
    """The code of the response criteria ("RECIST 1.1", "recist-1.1"): CID 6147 if in it, else ours."""
    wanted = _code_value(criteria)
    known = [code for name, code in CRITERIA.items() if _code_value(name) == wanted]
    names = {_code_value(ours): words for ours, words in CRITERIA_WORDS.items()}
    return known[0] if known else private(wanted, names.get(wanted, criteria))


def _code_value(words: str) -> str:
    letters = re.sub(r"[^A-Z0-9]", "", words.upper())
    return letters[:16] or "UNKNOWN"


# ---------------------------------------------------------------- procedures, equipment, algorithms
PROCESSING_EQUIPMENT = codes.DCM.ProcessingEquipment
ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence  # CID 7162
NEIGHBORHOOD_ANALYSIS = codes.DCM.NeighborhoodAnalysis
PROCEDURES: Final[Mapping[str, Code]] = {  # CID 100
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": codes.LN.MRIUnspecifiedBodyRegion,
    "PT": codes.LN.PETUnspecifiedBodyRegion,
}
IMAGING_PROCEDURE = codes.SCT.ImagingProcedure
DIAGNOSTIC_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")  # CID 7020


def dataset_of(code: Code) -> Dataset:
    """The code as an item of a code sequence (PS3.3, 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    return item


def anatomic_regions(lesion: ReportedLesion) -> list[Code]:
    """Where a lesion is: its coded site, after "Lymph Node" for a node whose site does not say so.

    The node comes first because readers that take one site only must not lose it: a node is
    measured on its short axis.
    """
    found = []
    if lesion.finding_site:
        words = lesion.finding_site_meaning or lesion.organ or "Finding site"
        found.append(Code(lesion.finding_site, "SCT", words[:64]))
    elif site := site_of_words(lesion.organ):
        found.append(Code(site.code, "SCT", site.meaning))
    if lesion.is_nodal and not any(_is_nodal(code) for code in found):
        found.insert(0, LYMPH_NODE)
    return found


def finding_of(lesion: ReportedLesion) -> Code:
    """What kind of lesion it is: as its prompt said (a primary neoplasm), else a lesion."""
    if not lesion.finding:
        return LESION
    return Code(lesion.finding, "SCT", (lesion.finding_meaning or LESION.meaning)[:64])


def _is_nodal(code: Code) -> bool:
    site = site_of_code(code.value)
    return site is not None and site.is_nodal


# ---------------------------------------------------------------- read only: what others write
# Sets hold SNOMED CT; SNOMED RT is translated before it is looked up (dicom_io/prompts/origin.py).
ANATOMICAL_STRUCTURE = codes.SCT.AnatomicalStructure  # CID 7150
LESION_TYPES: Final = frozenset(  # CID 7159, 6202
    {
        LESION,
        codes.SCT.Neoplasm,
        codes.SCT.NeoplasmPrimary,
        Code("86049000", "SCT", "Neoplasm, Primary"),  # what SNOMED RT M-80003 became
        codes.SCT.NeoplasmSecondary,
        codes.SCT.Nodule,
        codes.SCT.Mass,
        codes.NCIt.EnhancingLesion,
        codes.NCIt.NonEnhancingLesion,
    }
)
BESIDE_THE_TUMOUR: Final = frozenset(  # CID 7159: abnormal, but not what RECIST measures
    {
        codes.SCT.Edema,
        codes.SCT.Normal,
        codes.SCT.BloodClot,
        codes.SCT.Embolus,
        codes.SCT.Hemorrhage,
        codes.SCT.Inflammation,
        codes.SCT.Abscess,
        codes.DCM.Background,
    }
)
ANATOMICAL_STRUCTURES: Final = frozenset(codes.cid7192.concepts.values())
REFERENCED_SEGMENTATION_FRAME = codes.DCM.ReferencedSegmentationFrame  # TID 1410
KEY_OBJECT_DESCRIPTION = codes.DCM.KeyObjectDescription  # TID 2010
REFERENCE_POINTS = Code("122438", "DCM", "Reference Points")  # dwv: where a label stands
REFERENCE_GEOMETRY = Code("128773", "DCM", "Reference Geometry")  # dwv: the reformatted plane drawn on
OHIF_FREE_TEXT: Final = "CORNERSTONEFREETEXT"  # value of a finding whose meaning is what the reader typed

LENGTHS: Final = frozenset({codes.SCT.Length, codes.SCT.Diameter})
LONG_AXES: Final = frozenset({LONG_AXIS, codes.SCT.MajorAxis})  # CID 7470
SHORT_AXES: Final = frozenset({SHORT_AXIS, codes.SCT.PerpendicularAxis, codes.SCT.MinorAxis})
REGIONS: Final = frozenset(  # what refers to coordinates like these speaks of a region, not of a line
    {
        codes.DCM.ImageRegion,
        codes.DCM.Outline,
        codes.DCM.AreaOutline,
        codes.DCM.PerimeterOutline,
        codes.DCM.VolumeSurface,
        codes.SCT.Area,
        codes.SCT.AreaOfDefinedRegion,
        codes.SCT.Perimeter,
        codes.SCT.Volume,
        codes.DCM.AttenuationCoefficient,
        codes.DCM.MeanAttenuationCoefficient,
        codes.DCM.StandardizedUptakeValue,
    }
)
ANGLES: Final = frozenset({codes.SCT.Angle})

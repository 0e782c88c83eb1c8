"""The models that come with Tumorline. None of their trained weights do."""

from __future__ import annotations

from models.catalogue import ALL_POSITIVE_PROMPTS, CatalogueEntry, Kind, PromptKind, WeightFile

DEFAULT_SEGMENTER = "weight-free"
DEFAULT_TRACKER = "weight-free"

WEIGHT_FREE = CatalogueEntry(
    name="weight-free",
    version="1",
    title="Region growing and deformable registration, no trained weights",
    licence="Apache-2.0",
    factories={
        Kind.SEGMENTER: "models.weight_free:open_segmenter",
        Kind.TRACKER: "models.weight_free:open_tracker",
    },
    prompts=(*ALL_POSITIVE_PROMPTS, PromptKind.NEGATIVE_POINT),
    modalities=("CT", "MR", "PT"),
    limits=(
        "No learned knowledge of lesions: it follows intensity inside the prompt.",
        "Weak where a lesion has the intensity of what it touches; check every outline.",
    ),
)

OPEN_LESION = CatalogueEntry(
    name="open-lesion",
    version="1",
    title="A small network of Tumorline's own, trained on synthetic lesions",
    licence="Apache-2.0",
    factories={Kind.SEGMENTER: "models.open_lesion:open_segmenter"},
    prompts=(*ALL_POSITIVE_PROMPTS, PromptKind.NEGATIVE_POINT),
    modalities=("CT", "MR", "PT"),
    limits=(
        "Trained on synthetic lesions only; docs/models.md says what it reaches on which real ones.",
        "Sees a cube of 32 voxels a side around the prompt: finer details than that are smoothed.",
        "A click alone often gets the size of a lesion wrong; a line or a box does not.",
    ),
    weights=(
        WeightFile(
            path="open_lesion.safetensors",
            sha256="ecabcafacc10fd8447a288734b4354d22a4de8344ee50f71224e440eefa7fffc",
            size_bytes=5229746,
        ),
    ),
    bundled="models.open_lesion:open_lesion.safetensors",
)

LESIONLOCATOR = CatalogueEntry(
    name="lesionlocator",
    version="225b419",
    title="LesionLocator: promptable segmentation and tracking (arXiv 2502.20985)",
    # The sources at hand state a licence for the code only; it is the one that is known.
    licence="GPL-3.0-only",
    factories={
        Kind.SEGMENTER: "models.lesionlocator:open_segmenter",
        Kind.TRACKER: "models.lesionlocator:open_tracker",
    },
    prompts=ALL_POSITIVE_PROMPTS,
    limits=(
        "Sees 160 x 179 x 179 mm around the prompt; a larger lesion is put together from several views.",
        "No negative points.",
        "The publisher states no licence for the weights themselves, only for the code: check before use.",
    ),
    weights=(WeightFile(path="LesionLocatorCheckpoint"),),
    weights_page="https://zenodo.org/records/15174217",
)

MEDSAM = CatalogueEntry(
    name="medsam",
    version="d71e8a1",
    title="MedSAM: a box on each slice (Nature Communications 2024)",
    licence="Apache-2.0",
    factories={Kind.SEGMENTER: "models.medsam:open_segmenter"},
    prompts=(PromptKind.LINE, PromptKind.BOX, PromptKind.OUTLINE, PromptKind.MASK),
    modalities=("CT", "MR", "PT"),
    limits=(
        "Slice by slice: nothing is learned from the slices above and below.",
        "Objects below 1000 voxels, or 100 pixels in a slice, were not in its training data.",
        "Box prompts only; lines, outlines and masks are turned into boxes. No points.",
    ),
    weights=(
        WeightFile(
            path="medsam_vit_b.pth",
            url="https://zenodo.org/records/10689643/files/medsam_vit_b.pth?download=1",
        ),
    ),
    weights_page="https://zenodo.org/records/10689643",
    extra="sam",
    requires=("transformers",),
    converter="models.medsam:convert",
)

MEDSAM2 = CatalogueEntry(
    name="medsam2",
    version="332f30d",
    title="MedSAM2: a prompt on the key slice, carried through the volume",
    licence="CC-BY-SA-4.0",
    factories={Kind.SEGMENTER: "models.medsam2:open_segmenter"},
    prompts=(*ALL_POSITIVE_PROMPTS, PromptKind.NEGATIVE_POINT),
    modalities=("CT", "MR", "PT"),
    limits=(
        "Carries the prompt from slice to slice and may leak along a vessel or bowel.",
        "Only the SAM2.1-tiny checkpoints (MedSAM2_*.pt); the EfficientTAM ones have another architecture.",
    ),
    weights=(
        WeightFile(
            path="MedSAM2_latest.pt",
            url="https://huggingface.co/wanglab/MedSAM2/resolve/main/MedSAM2_latest.pt",
        ),
    ),
    weights_page="https://huggingface.co/wanglab/MedSAM2",
    extra="sam",
    requires=("transformers",),
    converter="models.medsam2:convert",
)

MEDLAM = CatalogueEntry(
    name="medlam",
    version="4144407",
    title="MedLAM: body coordinates and boxes of templates' structures (arXiv 2306.14752)",
    # The publisher's README says CC-BY-NC-4.0, the LICENSE file Apache-2.0: the narrower one rules.
    licence="CC-BY-NC-4.0",
    factories={
        Kind.LOCALIZER: "models.medlam:open_localizer",
        Kind.DETECTOR: "models.medlam:open_detector",
    },
    limits=(
        "A coordinate is good to centimetres: it says which part of the body, not which organ.",
        "Boxes need 3 to 10 template scans with known extreme points.",
        "Trained and measured on organs; no result on lesions is published.",
    ),
    weights=(WeightFile(path="medlam.pth"),),
    weights_page="https://github.com/openmedlab/MedLSAM",
    converter="models.medlam:convert",
)

NNINTERACTIVE = CatalogueEntry(
    name="nninteractive",
    version="1.0",
    title="nnInteractive: interactive refinement with positive and negative clicks",
    licence="CC-BY-NC-SA-4.0",
    factories={Kind.SEGMENTER: "models.nninteractive:open_segmenter"},
    prompts=(*ALL_POSITIVE_PROMPTS, PromptKind.NEGATIVE_POINT),
    modalities=("CT", "MR", "PT"),
    limits=(
        "Non-commercial weights.",
        "Made for a GPU with 10 GB; on a CPU a click takes minutes.",
        "Only flat boxes: a 3-D box is shown as its middle slice.",
    ),
    weights=(WeightFile(path="nnInteractive_v1.0"),),
    weights_page="https://huggingface.co/nnInteractive/nnInteractive",
    extra="nninteractive",
    requires=("nnInteractive",),
)

BUILTIN = (WEIGHT_FREE, OPEN_LESION, LESIONLOCATOR, MEDSAM, MEDSAM2, MEDLAM, NNINTERACTIVE)

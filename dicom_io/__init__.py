"""Everything that speaks DICOM: network, headers, images, prompts, results."""

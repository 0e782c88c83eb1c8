"""Which licences of model weights a site accepts unless it says otherwise."""

from __future__ import annotations

# SPDX identifiers of licences that let a hospital use the weights, also commercially.
# Anything else (non-commercial, unknown) is refused until the site lists it in `allowed_licences`.
DEFAULT_ALLOWED_LICENCES = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC-BY-4.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "GPL-3.0-only",
        "MIT",
    }
)

"""DICOMweb (PS3.18): what is here is found, fetched and added to over HTTP.

QIDO-RS and WADO-RS over the received images and the results that stand, STOW-RS for what a reader draws.
"""

from dicom_io.web.routes import dicomweb_routes

__all__ = ["dicomweb_routes"]

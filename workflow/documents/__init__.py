"""The response documents: JSON, CSV and SDTM in, results and tables out."""

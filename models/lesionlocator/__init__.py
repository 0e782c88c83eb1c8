"""LesionLocator: lesions from a point or box on CT, and the same lesions on the next scan."""

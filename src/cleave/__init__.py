"""Instance masks and detectors from unlabeled images."""

__version__ = "0.1.0"

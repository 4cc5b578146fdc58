"""What the detectors of this package share: trunk, pyramid, weights files, prediction."""

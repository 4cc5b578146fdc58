"""Measured speed and memory of the library's stages beside naive twins: `make bench`."""

"""Affinities and cuts in torch, many images at a time, for a GPU. Importing it imports torch."""

"""Mask R-CNN and Cascade Mask R-CNN with the numerical conventions of detectron2."""

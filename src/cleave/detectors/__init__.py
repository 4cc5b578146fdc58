"""Detector plugins: networks trained on masks that find masks."""

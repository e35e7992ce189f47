"""Redline: which merchants are near or over a platform's red lines, and the proof."""

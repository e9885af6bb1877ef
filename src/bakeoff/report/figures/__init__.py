"""Figures: where marks, ticks and labels go, in SVG units."""

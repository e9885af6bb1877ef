"""Figures: places of marks, ticks and labels, in SVG units."""

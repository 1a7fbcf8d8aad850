"""Builds the coordinates of a molecule: internal, Cartesian or mixed."""

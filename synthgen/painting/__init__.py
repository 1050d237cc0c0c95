"""What every anomaly type paints with: the surface, its light and colour, shapes, noise, warps, draws."""

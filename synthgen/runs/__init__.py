"""What every training stands on: run folders, devices, steps, weights, pictures."""

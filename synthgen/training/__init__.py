"""What trainings share, of generators and of detectors: devices, run folders, random numbers that survive a resume."""

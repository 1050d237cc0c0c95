"""What detectors learn from and look through: training images, held-out images, backbones, features."""

"""edge: road and pedestrian masks from a PyTorch-trained net, at camera rate."""

__version__ = "0.1.0"

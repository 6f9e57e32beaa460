"""The live page: what the camera sees and how the service is, in a browser, and as figures for machines."""

"""One table per device: every engine, input size, precision and backend on this machine, in one file."""

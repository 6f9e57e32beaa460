"""`edge serve`: a camera's masks for months, under systemd."""

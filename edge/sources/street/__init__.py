"""A rendered street with exact labels: a world drawn from a seed, seen through a dash camera."""

"""The overlay as a live H.264 stream to a media server; docs/live.md."""

"""Where a camera looks, and what its pixels are in metres on a flat road.

`model` is what a config says of a camera, `ground` the mathematics between pixels and the road.
"""

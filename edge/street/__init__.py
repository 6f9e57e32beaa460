"""A rendered street with exact labels: a world made from a seed, seen through a dash camera.

From the world to the image:

    place, world, traffic   what the street is like, what stands along it, who moves along it
    light, view             weather and time of day; where the camera is and how it projects
    materials, facades,     how things look: tiles of material, fronts of houses, plants, signs,
    plants, signs,          vehicles and people as meshes
    vehicles, people, limbs
    canvas, mesh, memory    the strokes, which write image and labels together
    sky, ground, shadows,   what is painted, from back to front
    scenery, cast, wet
    film                    what the camera adds: vignette, exposure, noise
    render                  one frame from its number alone
"""

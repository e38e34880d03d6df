"""The second generation of the bundled model: 96 x 96, 33 frames, from words and from a first picture.

The world, its sentences and the scorer are shared with the first generation; the latent space, the lessons and the
networks are here. `scripts/train.py quickstart` makes all of it from nothing.
"""

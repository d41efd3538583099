"""A predictor of 68 landmarks that anyone may ship: dlib's regression trees, trained on rendered heads.

`render` makes the pictures and their labels, `train` trains and packs the predictor, `compare` measures it
beside the one that comes with dlib. See `docs/landmarks.md`.
"""

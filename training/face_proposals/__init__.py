"""A small network that says where a photo's faces may be, for dlib's detector to confirm.

`label_photos` lets dlib's detectors look for the faces of a folder of photos, `pictures` makes training
pictures of them, `train` trains the network, `export` writes it as the file that
`inversefacenet.face_proposals` reads.
"""

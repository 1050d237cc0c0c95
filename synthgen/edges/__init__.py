"""Edge maps of images, 255 where there is no edge and 0 on a strong one, and what LogicAL does with them.

They come from PiDiNet where the user has its weights (`pidinet.py`, the one module here that imports torch at its top),
else from image gradients (`soft.py`); `detector.py` gives both the same face.
"""

"""Anomalies by edited edges (LogicAL): the edges of a normal image are found, edited, and drawn as a picture again.

As data flows: `detector` finds edges (`pidinet` with weights of the user, else `soft`), `watershed` or `sam` find parts, which
`regions` refines; `editing` draws and applies edits; `generator` draws pictures, and `truth` says what has changed in them.
`pipeline` brings these together for a build. `config`, `pairs`, `warping`, `losses`, `training` and `model` make the generator.
Edge maps are 255 (or 1) where there is no edge and 0 on an edge, everywhere.
"""

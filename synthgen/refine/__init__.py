"""Coarse-to-fine refinement of rendered anomalies (MaPhC2F, sections 3.2.2 and 3.2.3).

Stage A is what an anomaly type renders. `phase_field` smooths its boundary without any network; `npcf` (stage B1) and
`npcfpp` (stage B2) are trained on stage A. `refiner` applies one of them to samples, `training` trains the networks.
"""

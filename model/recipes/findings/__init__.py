"""The laboratory of the paper's six findings, small enough for two CPU cores.

`scenes` draws pictures and texts, `backbones` trains a tower and a decoder apart, `arms` are the
trainings that are compared, `laboratory` runs them, and `report` says what came of it.
"""

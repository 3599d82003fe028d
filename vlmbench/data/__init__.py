"""A row, from wherever it is: the hub, a local folder, drawn scenes, or a prediction file."""

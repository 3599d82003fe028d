"""A row, from wherever it is: the hub, a local folder, drawn scenes, or a prediction file."""

from vlmbench.data.rows import Row
from vlmbench.data.splits import AnswerFile, Hub, Split, Url, drawn

__all__ = ["AnswerFile", "Hub", "Row", "Split", "Url", "drawn"]

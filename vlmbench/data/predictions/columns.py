"""Names that a sample's id and fields have in the data sets, and so in files made from them."""

IDS = ("id", "question_id", "questionId", "pid", "index")

MATHVISTA_METADATA = (
    *("category", "context", "grade", "img_height", "img_width"),
    *("language", "skills", "source", "split", "task"),
)
"""The fields of the column `metadata`."""

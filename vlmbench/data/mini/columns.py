"""The columns of the six tasks' hub data sets, by name and type."""

from __future__ import annotations

from typing import Any

IMAGE = "image"
"""The type of a column of pictures; others are as `datasets.Value` names them."""

COLUMNS: dict[str, dict[str, Any]] = {
    "vqav2": {
        "question_type": "string",
        "multiple_choice_answer": "string",
        "answers": [{"answer": "string", "answer_confidence": "string", "answer_id": "int64"}],
        "image_id": "int64",
        "answer_type": "string",
        "question_id": "int64",
        "question": "string",
        "image": IMAGE,
    },
    "textvqa": {
        "image_id": "string",
        "question_id": "int32",
        "question": "string",
        "question_tokens": ["string"],
        "image": IMAGE,
        "image_width": "int32",
        "image_height": "int32",
        "flickr_original_url": "string",
        "flickr_300k_url": "string",
        "answers": ["string"],
        "image_classes": ["string"],
        "set_name": "string",
        "ocr_tokens": ["string"],
    },
    "docvqa": {
        "questionId": "string",
        "question": "string",
        "question_types": ["string"],
        "image": IMAGE,
        "docId": "int64",
        "ucsf_document_id": "string",
        "ucsf_document_page_no": "string",
        "answers": ["string"],
        "data_split": "string",
    },
    "mmmu": {
        **dict.fromkeys(("id", "question", "options", "explanation"), "string"),
        **{f"image_{number}": IMAGE for number in range(1, 8)},
        **dict.fromkeys(("img_type", "answer", "topic_difficulty"), "string"),
        **dict.fromkeys(("question_type", "subfield"), "string"),
    },
    "mathvista": {
        "pid": "string",
        "question": "string",
        "image": "string",
        "decoded_image": IMAGE,
        "choices": ["string"],
        "unit": "string",
        "precision": "float64",
        "answer": "string",
        "question_type": "string",
        "answer_type": "string",
        "metadata": {
            **dict.fromkeys(("category", "context", "grade"), "string"),
            "img_height": "int64",
            "img_width": "int64",
            "language": "string",
            "skills": ["string"],
            **dict.fromkeys(("source", "split", "task"), "string"),
        },
        "query": "string",
    },
    "mmbench": {
        "index": "int64",
        **dict.fromkeys(("question", "hint", "A", "B", "C", "D", "answer", "category"), "string"),
        "image": IMAGE,
        **dict.fromkeys(("source", "L2-category", "comment", "split"), "string"),
    },
}

TASK_OF = {**dict(zip(COLUMNS, COLUMNS, strict=True)), "easy_vqa": "vqav2"}
"""The module that draws scenes to the task whose columns they have."""


def pictures(scenes: str) -> list[str]:
    """Names of the columns that hold pictures."""
    return [name for name, kind in COLUMNS[TASK_OF[scenes]].items() if kind == IMAGE]

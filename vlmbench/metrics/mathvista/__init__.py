"""MathVista (Lu et al., 2024, arXiv:2310.02255): answer extraction and scoring."""

from vlmbench.metrics.mathvista.extraction import Extraction, extract
from vlmbench.metrics.mathvista.problem import Problem
from vlmbench.metrics.mathvista.verdict import normalize, verdict, verdict_of_extraction

__all__ = ["Extraction", "Problem", "extract", "normalize", "verdict", "verdict_of_extraction"]

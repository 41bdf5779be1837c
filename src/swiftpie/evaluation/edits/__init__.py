"""How well pictures are edited: rendered cases with exact answers, and PIE-Bench's folder."""

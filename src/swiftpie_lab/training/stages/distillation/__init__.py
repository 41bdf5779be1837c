"""Students of a multi-step teacher, and the teacher."""

"""The one-step model: what its batches practise, what they are shown, and its losses."""

"""The world of training pictures, drawn by formulas: places, subjects, weather, light, captions."""

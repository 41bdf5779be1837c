"""How the predictions of one denoising step become one, for text and identity apart."""

"""Times of a Llama-shaped model on a GPU at hand, and how well the performance model fits them."""

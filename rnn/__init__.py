"""A recurrent network from scratch, trained on MNIST through any kernel of the ladder."""

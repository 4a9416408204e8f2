"""What more processes buy: measured here, and by a model on a cluster of 1,000."""

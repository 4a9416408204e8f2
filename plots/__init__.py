"""Drawing code, one module per figure; gallery/ holds the pictures that the README shows."""

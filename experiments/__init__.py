"""One command per question; ``python -m experiments`` lists them."""

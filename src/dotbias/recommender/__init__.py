"""What a user holds: predictions, lists, similar items, folding in, explanations, the file."""

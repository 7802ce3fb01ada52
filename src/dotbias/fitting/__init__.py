"""From ratings to a recommender, with the solver that is asked for or the one that is chosen."""

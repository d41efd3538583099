"""Inference over any number of photos: found, cut into chunks, done in parallel, gathered into one table."""

"""The Gibbs sampler, its samples and how far its chains agree."""

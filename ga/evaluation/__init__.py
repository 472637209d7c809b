"""Evaluation of genomes: settings, folds, scores, and outcomes of a batch."""

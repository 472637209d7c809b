"""Analysis of final strategies: hold-out performance and overfitting statistics."""

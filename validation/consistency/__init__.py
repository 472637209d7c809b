"""Rules that relate the records of one run to each other, checked before any verdict."""

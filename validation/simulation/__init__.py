"""Simulated campaigns: complete evidence of a healthy system, made without a stack."""

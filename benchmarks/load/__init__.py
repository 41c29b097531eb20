"""Steady load on a real server: ``make load``."""

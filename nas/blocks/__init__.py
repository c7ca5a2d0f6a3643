"""Bricks of both branches. This package imports nothing of ours but itself."""

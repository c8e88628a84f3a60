"""Captured rows go in; profiles by hour and a drift report come out. Runs inside the image."""

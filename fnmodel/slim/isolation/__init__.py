"""Runs a conversion in a child that sees and reaches as little as the machine allows."""

"""Text without secrets, by patterns that are loaded with the first text."""


def scrub(text: str) -> str:
    """As `patterns.scrub`, whose expressions a cold start does not compile: 12 ms, once."""
    from fnmodel.capture import patterns

    return patterns.scrub(text)

"""What an endpoint says no with, where the reason is not in the model's input."""


class RefusalError(Exception):
    """An HTTP status from 400 on, and the words of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

"""What only people know of a model: the words of its card."""

from pydantic import Field

from fnmodel.config.base import Strict


class CardConfig(Strict):
    """What only people know of a model; `fnmodel card` shows it beside what was measured."""

    overview: str = Field(default="", description="what the model is for, in a sentence")
    owners: tuple[str, ...] = Field(default=(), description="who answers for it, with an address")
    license: str = Field(default="", description="its licence, as an SPDX identifier")
    references: tuple[str, ...] = Field(default=(), description="papers, pages, tickets")
    users: tuple[str, ...] = Field(default=(), description="who is to use its answers")
    use_cases: tuple[str, ...] = Field(default=(), description="what it is to be used for")
    out_of_scope: tuple[str, ...] = Field(
        default=(), description="what it must not be used for, or was not made for"
    )
    training_data: str = Field(
        default="", description="where the rows came from, of when, and how they were chosen"
    )
    limitations: tuple[str, ...] = Field(default=(), description="where it is known to fail")
    ethical_considerations: tuple[str, ...] = Field(
        default=(), description="whom it may harm, and what is done about that"
    )

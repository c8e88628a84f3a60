"""What OpenAI's client sees of an embedding model, with asyncio and without.

Runs in an environment with openai, as `openai_embeddings.py http://127.0.0.1:8080 NAME`. Prints a
line for each check.
"""

import asyncio
import sys

import openai

URL, MODEL = f"{sys.argv[1]}/v1", sys.argv[2]
CLIENT = openai.OpenAI(base_url=URL, api_key="any", max_retries=0)


def models():
    """List the models, and read one."""
    (found,) = CLIENT.models.list()
    assert (found.id, found.object) == (MODEL, "model")
    assert CLIENT.models.retrieve(MODEL).id == MODEL


def vectors():
    """Ask in the client's own form, which is base64, and by numbers: the vectors are the same."""
    texts = ["good wine", "badly", "a"]
    packed = CLIENT.embeddings.create(model=MODEL, input=texts)
    plain = CLIENT.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    found = [item.embedding for item in packed.data]
    assert found == [item.embedding for item in plain.data]
    assert [item.index for item in packed.data] == [0, 1, 2]
    assert {len(vector) for vector in found} == {6}
    assert len({tuple(vector) for vector in found}) == 3
    assert packed.usage.prompt_tokens == packed.usage.total_tokens == 4 + 4 + 3
    (alone,) = CLIENT.embeddings.create(model=MODEL, input=texts[0]).data
    assert max(abs(a - b) for a, b in zip(alone.embedding, found[0], strict=True)) < 1e-6


def errors():
    """Get the client's own exceptions, with the server's words."""
    try:
        CLIENT.embeddings.create(model="text-embedding-3-small", input="a")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
        assert MODEL in error.message
    else:
        raise AssertionError("another model")
    for more in ({"input": [1, 2]}, {"input": "a", "dimensions": 3}, {"input": ""}):
        try:
            CLIENT.embeddings.create(model=MODEL, **more)
        except openai.BadRequestError as error:
            assert error.type == "invalid_request_error"
        else:
            raise AssertionError(more)


def waiting():
    """Ask by the client that waits."""

    async def ask():
        async with openai.AsyncOpenAI(base_url=URL, api_key="any") as client:
            return await client.embeddings.create(model=MODEL, input=["good"] * 50)

    assert len(asyncio.run(ask()).data) == 50


for check in (models, vectors, errors, waiting):
    check()
    print(check.__name__, flush=True)

"""Models as they are served go in; one OpenAPI 3.1 document of their endpoint comes out."""

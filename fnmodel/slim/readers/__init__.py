"""One module a framework: a trained model's file in, a `Subject` out."""

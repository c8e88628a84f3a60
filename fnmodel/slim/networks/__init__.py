"""Neural networks: their tensors, their export through torch, their tokenizers."""

"""The objects of one S3 prefix go in; scored parts and one manifest come out; runs in the image."""

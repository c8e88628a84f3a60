"""A physical id goes in, the resource as it stands comes out, in CloudFormation's names."""

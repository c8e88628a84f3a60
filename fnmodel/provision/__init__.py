"""The template and a project go in; an applied CloudFormation change set comes out."""

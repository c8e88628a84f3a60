"""A trained model becomes a safe, fast, watched HTTPS endpoint on AWS Lambda.

    trained model --slim--> OnnxModel --pack--> Image --push--> repository@sha256
        --provision--> ChangeSet --> stack --release--> version --> gate --> alias `live`
        --serve--> prediction;  --batch--> parts --> manifest

Each arrow is a package whose docstring says what goes in and what comes out. Packages of stages
never import each other; what passes between them is a frozen value of `fnmodel.model` or plain
data. `fnmodel.cli` composes them on a person's machine, `handlers/` inside the image.

This module imports nothing: a cold start pays for every import.
"""

"""Requests of other model servers' clients in, answers in the forms that they read out.

`routes` names the paths, and loads each dialect with its first request. `given` reads rows and
tensors of any form, `scored` passes them through the model: all dialects share both.
"""

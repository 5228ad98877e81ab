"""A tuned network for other programs: as ONNX, as PyTorch's state, as a script, as TOML.

Each is made in memory from a bundle. Importing this package costs nothing.
"""

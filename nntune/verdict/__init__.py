"""What a careful reader would ask of a result: is it luck, is it needed, does it hold on new rows.

Importing this package costs nothing; reading a verdict needs the standard library alone.
"""

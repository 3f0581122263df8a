"""A connector in an attacker's hands: each function is one attempt to get out.

The files are put together into one connector.py, which runs in a real call's child. A
function returns ``got`` only if it really got something; what it did to the world is
looked at from outside.
"""

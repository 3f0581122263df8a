"""Keep a log whose every entry and whole history can be verified offline.

merkle       hash leaves into a root; append from a compact frontier
proofs       inclusion and consistency: prove from stored hashes, check
signed_note  texts signed by named Ed25519 keys (C2SP)
checkpoint   the signed head of a log (C2SP)
tlog_proof   one entry's proof as a file (C2SP)
entry_leaf   one signed entry as the exact bytes of a leaf
signing      which heads the signer signs, and how it is asked
export       the whole log as a file, and its verification
"""

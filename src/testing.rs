//! What tests share: the laws every codec obeys, and one entry function per fuzz target.

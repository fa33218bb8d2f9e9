"""What is spoken without anybody waiting for it: the queue of what is yet to be made, and who works on it."""

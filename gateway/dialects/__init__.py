"""How requests and answers are written on each surface that clients speak to."""

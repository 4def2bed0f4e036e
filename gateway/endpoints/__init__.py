"""One file per noun: the functions behind the route table."""

"""The description of the interface, OpenAPI 3.1: made from the route table, rules of bodies and types of answers."""

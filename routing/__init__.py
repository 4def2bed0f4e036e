"""Chooses which provider answers.

Strategies, breakers, retry and failover. Does no I/O of its own and knows no HTTP.
"""

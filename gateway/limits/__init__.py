"""How much a caller may take: requests per sliding window, tokens per period, requests at the same time."""

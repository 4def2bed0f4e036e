"""The gateway's HTTP edge and the product around it."""

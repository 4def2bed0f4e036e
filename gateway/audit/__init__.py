"""The audit log: who did what, in a chain of rows that shows when one of them was tampered with."""

"""Texts of people: quantities as they read them, and words that they misspelt."""

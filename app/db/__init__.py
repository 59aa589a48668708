"""The database: sessions, tables, upserts and migrations."""

"""The report of a compression, as the records of `convpress.report`; one file a subject."""

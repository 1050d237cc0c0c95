"""A finished run at work: loading, scoring, predicting, exporting."""

"""Real defects measured, and types of anomalies set so that what they make measures alike."""

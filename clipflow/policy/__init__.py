"""From numbers to verdicts: rules, scorers (one per file), and the judge."""

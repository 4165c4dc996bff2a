"""One file for each kind of evidence: what the truth is, where it comes from, and which measures it goes to."""

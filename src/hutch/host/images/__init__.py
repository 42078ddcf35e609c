"""Images of this host: where references lead, and root images made of what is there."""

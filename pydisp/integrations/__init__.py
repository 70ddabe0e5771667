"""Integrations with other tools that run pydisp's models; each imports its tool only when it is used."""

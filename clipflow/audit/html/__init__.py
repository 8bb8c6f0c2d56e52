"""The audit as one page: no script, nothing from elsewhere, plots drawn as SVG."""

"""What makes a site of the documentation: hooks of mkdocs, and the API reference."""

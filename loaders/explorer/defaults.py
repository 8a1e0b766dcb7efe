"""What the explorer's page, its server and its commands agree on. Imports nothing: `--help` has to be fast."""

NETWORKS = 40
"""Networks whose weights are inside a page, unless another number is given."""

PORT = 8000
"""Port of the server, unless another number is given."""

ZOO_FOLDER = "zoo/"
"""Where the server has the zoo's own files, relative to the page."""

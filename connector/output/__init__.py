"""Where records go: the document, standard output, or a file with its journal."""

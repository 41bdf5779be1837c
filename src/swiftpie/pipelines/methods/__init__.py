"""Ways to edit that users choose by name, one a file; each binds `TECHNIQUE`, see `choose`.

Importing one loads no tensor library, as the command line shows their options.
"""

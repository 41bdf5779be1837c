"""The server: an HTTP interface, live drawing, and a page, around sessions of the library."""

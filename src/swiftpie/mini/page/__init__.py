"""The page that draws in the browser itself: its files, written as a folder for any host."""

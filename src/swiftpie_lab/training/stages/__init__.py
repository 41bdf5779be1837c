"""What is trained: a stage a file or a folder. Stages read the folders of earlier runs."""

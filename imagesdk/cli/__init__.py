"""The ``imagesdk`` command."""

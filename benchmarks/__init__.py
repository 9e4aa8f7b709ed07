"""Named layers and the side-by-side comparison of pyconv with other libraries; not part of the installed package."""

"""What a release changes, as data: images, versions of programs, flags and fields that came and went."""

"""The benchmark of bound-images: what is measured in one room, how in another, what is shown in a third.

  measure   runs commands and takes wall time, CPU seconds and peak memory of all their processes
  place     where runs write: cleared, synced, caches dropped
  tools     podman, skopeo and bound-images, of this machine or of a newer Debian
  served    images in docker-registry on loopback, behind a slow link too
  roots     directories and hosts that bind images
  cold, settled, deep, boot, scale    what is measured, a section each
  results   medians, ratios, targets      page, plot    what is shown of them

Python 3 standard library only.
"""

#!/bin/sh
# A check that greenboot requires: the root's bound images are there and right.
exec /usr/bin/bound-images verify --health

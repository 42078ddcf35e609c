"""Dockerfiles: read, checked, and carried out inside build machines, a step at a time, each kept for the next build.

    reading    text → instructions, by BuildKit's own parser, in a process of its own
    words      variables in an instruction's words
    forms      what RUN, COPY and ADD say
    stages     instructions → stages, checked
    plan       stages and what their images mean now → steps with hashes
    state      what ENV, USER, WORKDIR and the like have said so far
    running    RUN in a guest
    copying    COPY and ADD in a guest
    packing    what is copied from, as a tar
    builder    the way through the steps

Nothing of a Dockerfile is ever executed or unpacked on the host.
"""

from hutch.control.dockerfile.builder import Dockerfiles as Dockerfiles
from hutch.control.dockerfile.plan import Plan as Plan
from hutch.control.dockerfile.plan import Step as Step

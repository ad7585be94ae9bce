"""The real-daemon lab: HAProxy in front of two Postfix servers, scripted clients, and ground truth.

`python -m tests.real.capture SCENARIO OUTDIR` runs one scenario and leaves a capture directory;
`python -m tests.real.score CAPTURE` scores what logscope makes of it. Needs Linux, root, and the
packages haproxy, postfix and iproute2; everything else is Python's standard library.
"""

"""Seeds made of what they belong to, so that nothing random has a state that must be saved."""

from __future__ import annotations


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers, each of which matters (the splitmix64 finaliser)."""
    state = 0
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1

"""The one part that pyproject.toml cannot say: the compiled kernels, which are optional."""

from setuptools import Extension, setup

# A plain C library without Python's headers, loaded by cleave/ops/native.py. Where it cannot be
# compiled the installation goes on without. No -march=native and no contraction to fused
# multiply-adds: results are the same on every machine.
kernels = Extension(
    "cleave.ops._native",
    sources=[f"src/native/{name}.c" for name in ("bits", "crf", "lattice", "version")],
    depends=["src/native/lattice.h"],
    extra_compile_args=["-O3", "-ffp-contract=off", "-fvisibility=default"],
    libraries=["m"],
    optional=True,
)

setup(ext_modules=[kernels])

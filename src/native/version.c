/* Raised with every change of a signature; cleave/ops/native.py asks for the one that it knows. */

int cleave_native_version(void)
{
    return 2;
}

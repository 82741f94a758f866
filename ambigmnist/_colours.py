"""The colours of heatmaps."""

__all__ = ["RAMP"]

# Sixteen steps of equal length in OKLab, low to high; zero is almost the paper, in both themes.
RAMP = {
    "light": "f1f7fb d3eff8 b6eaea 9ce0e2 7fd4da 61c7d4 4ab8d1 32a7ce 2297ca 1c83c6 2471c0 2e5eb9 "
    "364cad 363c98 342f85 302171",
    "dark": "23252b 272b46 322e60 3b367a 444096 454fad 3c64bc 2c79c8 098fcf 0ca4cc 06bacc 3accc6 "
    "6adbb7 9ae6a8 c8ee9e f5f59c",
}

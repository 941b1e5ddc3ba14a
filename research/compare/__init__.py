"""
Symbols side by side, with the correction for having looked at several: the best of many looks good by luck.

Each symbol runs alone under the same parameters. A symbol is ranked only with enough trades; its p-value is corrected
by Holm (any false one) and Benjamini-Hochberg (share of false ones), and the best is put to Hansen's test.
"""

"""
Walk-forward: what a strategy would have earned had everything been chosen on the past alone.

``config`` what is asked, ``folds`` the windows, ``selection`` parameters chosen inside a training window, ``gate`` the
model trained there, ``trial`` one test window on BacktestNode, ``study`` all of it into one folder, ``combinatorial``
purged cross-validation, ``ancestor`` the ancestor's own rules, to explain where we differ.
"""
